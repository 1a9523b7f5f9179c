from __future__ import annotations

from typing import Any

import pytest

from minienvoy.discovery.kubernetes.objects import ObjectKey
from minienvoy.discovery.kubernetes.settings import (
    ApiSource,
    PodsRef,
    ServiceRef,
    SlicesRef,
    from_source,
    from_values,
    resource_ref,
)
from minienvoy.errors import ConfigError

WEB = {"service": "shop/web", "port": "http"}


def refs(**values: Any) -> tuple[Any, ...]:
    return from_values(values, "value").refs


def test_what_can_be_followed() -> None:
    web = ServiceRef(ObjectKey("shop", "web"), "http")
    assert refs(**WEB) == (web,)
    assert refs(service="web", namespace="shop", port=8080.0) == (ServiceRef(ObjectKey("shop", "web"), 8080),)
    assert refs(service="web", port="8080") == (ServiceRef(ObjectKey("", "web"), 8080),)
    assert refs(services=["shop/web", {"service": "api", "namespace": "b", "port": 9090.0}], port="http") == (
        web,
        ServiceRef(ObjectKey("b", "api"), 9090),
    )
    assert refs(endpoint_slices={"namespace": "shop", "label_selector": {"a": "b", "c": "d"}, "port": ""}) == (
        SlicesRef("shop", "a=b,c=d", ""),
    )
    assert refs(pods={"label_selector": "app in (a,b)", "namespaces": ["a", "b"], "port": "http"}) == (
        PodsRef(("a", "b"), "app in (a,b)", "http"),
    )
    assert refs(pods={"label_selector": "a", "namespaces": ["*"], "port": "http"})[0].namespaces == ()
    assert refs(pods={"label_selector": "a", "port": "http"})[0].namespaces == ("",)


def test_an_eds_resource_names_service_and_port() -> None:
    assert resource_ref("shop/web:http", "p") == ServiceRef(ObjectKey("shop", "web"), "http")
    assert resource_ref("web:80", "p") == ServiceRef(ObjectKey("", "web"), 80)
    settings = from_source({"zone": "z", "kubeconfig": "k", "context": "c"}, "config", "web:80", "name", 3.0)
    assert (settings.zone, settings.source, settings.initial_fetch_timeout) == ("z", ApiSource("k", "c"), 3.0)
    with pytest.raises(ConfigError, match="say namespace/name:port"):
        resource_ref("shop/web", "p")


def test_narrower_networks_are_rewritten_first() -> None:
    settings = from_values(
        {**WEB, "address_rewrite": {"10.0.0.0/8": "127.0.0.1", "10.1.0.0/16": "[::2]:1", "fd00::/8": "::1"}}, "v"
    )
    assert [(str(each.network), each.host, each.port) for each in settings.address_rewrite] == [
        ("10.1.0.0/16", "::2", 1),
        ("10.0.0.0/8", "127.0.0.1", 0),
        ("fd00::/8", "::1", 0),
    ]


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        ({}, "value", "exactly one of service, services, endpoint_slices and pods"),
        ({**WEB, "pods": {}}, "value", "exactly one of"),
        ({"service": "shop/web"}, "value.port", "a port is needed"),
        ({"service": "shop/web", "port": 0.0}, "value.port", "not 0"),
        ({"service": "shop/web", "port": 80.5}, "value.port", "name or number is expected, not 80.5"),
        ({"service": "shop/web", "port": "a b"}, "value.port", "name or number"),
        ({"service": "Shop/web", "port": "http"}, "value.service", "is not namespace/name"),
        ({"service": "a/b/c", "port": "http"}, "value.service", "is not namespace/name"),
        ({"service": 7.0, "port": "http"}, "value.service", "a text is expected, not 7"),
        ({**WEB, "famly": "v4"}, "value.famly", "did you mean 'family'"),
        ({**WEB, "family": "ipv4"}, "value.family", "not one of auto, v4, v6, all .did you mean 'v4'"),
        ({**WEB, "hints": False}, "value.hints", "False is not one of honour, ignore"),
        ({**WEB, "qqq": 1.0}, "value.qqq", "there are address_rewrite, app_protocol,"),
        ({**WEB, "client_ip_affinity": "yes"}, "value.client_ip_affinity", "true or false"),
        ({**WEB, "initial_fetch_timeout": "15"}, "value.initial_fetch_timeout", "such as 15s"),
        ({**WEB, "pod_labels": "app"}, "value.pod_labels", "a list of texts"),
        ({**WEB, "address_rewrite": {"10.0.0.1/8": "a"}}, "value.address_rewrite", "neither an address nor a network"),
        ({**WEB, "address_rewrite": {"10.0.0.1": 1.0}}, "value.address_rewrite", "a host is expected for 10.0.0.1"),
        ({**WEB, "address_rewrite": {"10.0.0.1": "localhost:80"}}, "value.address_rewrite", "'localhost:80' is no IP"),
        ({**WEB, "address_rewrite": {"10.0.0.1": "::1:99999999"}}, "value.address_rewrite", "is no IP address"),
        ({**WEB, "address_rewrite": {"10.0.0.1": "1.2.3.4:x"}}, "value.address_rewrite", "is no IP address"),
        ({**WEB, "address_rewrite": {"10.0.0.1": "[::1]:70000"}}, "value.address_rewrite", "nor one with a port"),
        ({**WEB, "address_rewrite": ["a"]}, "value.address_rewrite", "networks and their hosts"),
        ({"services": [], "port": "http"}, "value.services", "a list of services is expected"),
        ({"services": ["a/b", 1.0], "port": "http"}, "value.services[1]", "a service is expected, not 1"),
        ({"services": [{"service": "a/b", "prt": 1.0}], "port": "a"}, "value.services[0].prt", "did you mean 'port'"),
        ({"services": ["a/b"]}, "value.services[0].port", "a port is needed"),
        ({"pods": {"port": "http"}}, "value.pods.label_selector", "a label selector is needed"),
        (
            {"pods": {"label_selector": "a", "port": "a", "namespaces": ["A"]}},
            "value.pods.namespaces",
            "'A' can not be",
        ),
        ({"pods": {"label_selector": "a", "port": "a", "x": 1.0}}, "value.pods.x", "there is no field 'x'"),
        ({"pods": "app=web"}, "value.pods", "fields are expected, not 'app=web'"),
        ({"endpoint_slices": {"label_selector": "", "port": "a"}}, "value.endpoint_slices.label_selector", "is needed"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(values: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        from_values(values, "value")
    assert error.value.path == path
