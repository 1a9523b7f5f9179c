"""Objects in, a configuration out."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import pytest
import yaml

from minienvoy.config.loader import load_message
from minienvoy.ingress.bootstrap import bootstrap
from minienvoy.ingress.controller import IngressSettings, translate
from minienvoy.ingress.model import Found, Model
from minienvoy.ingress.objects import (
    GATEWAYS,
    GRPC_ROUTES,
    HTTP_ROUTES,
    INGRESS_CLASSES,
    INGRESSES,
    REFERENCE_GRANTS,
    SECRETS,
    SERVICES,
)
from minienvoy.testing import ca

RESOURCES = {
    "Gateway": GATEWAYS,
    "GRPCRoute": GRPC_ROUTES,
    "HTTPRoute": HTTP_ROUTES,
    "Ingress": INGRESSES,
    "IngressClass": INGRESS_CLASSES,
    "ReferenceGrant": REFERENCE_GRANTS,
    "Secret": SECRETS,
    "Service": SERVICES,
}
SETTINGS = IngressSettings(ingress_class="mine", gateway_class="mine", port_offset=8000)


ACTIONS = ("route", "redirect", "direct_response")


def found(text: str) -> Found:
    objects: dict[str, list[Any]] = {kind: [] for kind in RESOURCES}
    for number, each in enumerate(yaml.safe_load_all(text)):
        each.setdefault("metadata", {}).setdefault("namespace", "default")
        each["metadata"].setdefault("creationTimestamp", f"2026-01-01T00:00:{number:02d}Z")
        objects[each["kind"]].append(RESOURCES[each["kind"]].slim(each))
    return Found(
        *(tuple(objects[kind]) for kind in ("Ingress", "IngressClass", "Gateway", "HTTPRoute", "GRPCRoute")),
        tuple(objects["ReferenceGrant"]),
        {each.key: each for each in objects["Service"]},
        {each.key: each for each in objects["Secret"]},
    )


def translated(text: str, settings: IngressSettings = SETTINGS) -> tuple[Model, dict[str, Any]]:
    """The model and the configuration, which the API takes."""
    model = translate(found(text), settings)
    values = bootstrap(model, "127.0.0.1", "", {})
    load_message(yaml.safe_dump(values), "envoy.config.bootstrap.v3.Bootstrap")
    return model, values


def routes(values: dict[str, Any], listener: int = 0) -> dict[str, list[Any]]:
    """By host: the match of each route and what is done."""
    chain = values["static_resources"]["listeners"][listener]["filter_chains"][0]
    hosts = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    return {
        host["name"]: [(each["match"], next(each[kind] for kind in ACTIONS if kind in each)) for each in host["routes"]]
        for host in hosts
    }


def notes(model: Model) -> list[str]:
    return [f"{source}: {note}" for source, each in model.notes.items() for note in each]


INGRESS = """
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: mine
  rules:
  - host: a.test
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /api/, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}
      - {path: /api, pathType: Exact, backend: {service: {name: one, port: {number: 80}}}}
"""


def test_paths_of_an_ingress_in_their_order() -> None:
    model, values = translated(INGRESS)
    assert routes(values) == {
        "a.test": [
            ({"path": "/api"}, {"cluster": "default/one:80"}),
            ({"path_separated_prefix": "/api"}, {"cluster": "default/api:http"}),
            ({"prefix": "/"}, {"cluster": "default/web:80"}),
        ]
    }
    clusters = {
        each["name"]: each["cluster_type"]["typed_config"]["value"] for each in values["static_resources"]["clusters"]
    }
    assert clusters["default/api:http"] == {"service": "default/api", "port": "http"}
    assert notes(model) == []


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ("", True),
        ("ingressClassName: mine->ingressClassName: other", False),
        ("ingressClassName: mine->x: y", False),
        ("metadata: {name: web}->metadata: {name: web, annotations: {kubernetes.io/ingress.class: mine}}", True),
    ],
)
def test_only_ingresses_of_the_class_count(change: str, counts: bool) -> None:
    text = INGRESS
    if change:
        old, new = change.split("->")
        text = text.replace(old, new)
        if "annotations" in new:
            text = text.replace("  ingressClassName: mine\n", "")
    _, values = translated(text)
    assert bool(values["static_resources"]["listeners"]) is counts


def test_without_a_class_the_default_one_counts() -> None:
    annotations = "{ingressclass.kubernetes.io/is-default-class: 'true'}"
    default = f"\n---\nkind: IngressClass\nmetadata: {{name: mine, annotations: {annotations}}}\n"
    _, values = translated(INGRESS.replace("  ingressClassName: mine\n", "") + default)
    assert values["static_resources"]["listeners"]


def test_of_two_ingresses_the_older_one_has_the_path() -> None:
    other = INGRESS.replace("name: web}", "name: newer}").replace("name: one", "name: two")
    _, values = translated(f"{INGRESS}---{other}")
    assert routes(values)["a.test"][0] == ({"path": "/api"}, {"cluster": "default/one:80"})


def test_the_default_backend_is_for_what_nobody_wants() -> None:
    text = INGRESS.replace("  rules:", "  defaultBackend: {service: {name: rest, port: {number: 80}}}\n  rules:")
    text = text.replace(
        "      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}\n", ""
    )
    _, values = translated(text)
    assert routes(values)["*"] == [({"prefix": "/"}, {"cluster": "default/rest:80"})]
    assert routes(values)["a.test"][-1] == ({"prefix": "/"}, {"cluster": "default/rest:80"})


def secret(name: str, **data: str) -> str:
    encoded = {part.replace("_", "."): base64.b64encode(text.encode()).decode() for part, text in data.items()}
    return yaml.safe_dump({"kind": "Secret", "metadata": {"name": name}, "data": encoded})


@cache
def pem() -> tuple[str, str]:
    """A certificate and its key."""
    issued = ca().issue("a.test")
    chain, key = (each if isinstance(each, str) else each.decode() for each in (issued.certificate, issued.private_key))
    return chain, key


def test_tls_of_an_ingress_shows_the_secrets_certificate() -> None:
    cert, key = pem()
    text = INGRESS.replace("  rules:", "  tls: [{hosts: [a.test], secretName: cert}]\n  rules:")
    model, values = translated(f"{text}---\n{secret('cert', tls_crt=cert, tls_key=key)}")
    plain, secure = values["static_resources"]["listeners"]
    assert (plain["name"], secure["name"]) == ("http-8080", "https-8443")
    (chain,) = secure["filter_chains"]
    assert chain["filter_chain_match"] == {"server_names": ["a.test"]}
    shown = chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"][0]
    assert shown["certificate_chain"] == {"inline_string": cert}
    assert notes(model) == []


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ("", "there is no such Secret"),
        (secret("cert", tls_crt="a"), "it has no tls.key"),
        (
            "kind: Secret\nmetadata: {name: cert}\ndata: {tls.crt: '!', tls.key: YQ==}",
            "tls.crt is not base64 of a PEM text",
        ),
        (secret("cert", tls_crt="a", tls_key="b"), "tls.crt and tls.key can not be used: they are no PEM texts"),
    ],
)
def test_a_secret_that_can_not_be_used_is_noted(made: str, problem: str) -> None:
    text = INGRESS.replace("  rules:", "  tls: [{hosts: [a.test], secretName: cert}]\n  rules:")
    model, values = translated(f"{text}---\n{made}" if made else text)
    assert [each["name"] for each in values["static_resources"]["listeners"]] == ["http-8080"]
    assert notes(model) == [f"Ingress default/web: spec.tls[0].secretName: Secret default/cert: {problem}"]


def test_what_of_an_ingress_is_not_done_is_noted() -> None:
    backend = "backend: {resource: {kind: Bucket, name: b}}"
    text = INGRESS.replace("backend: {service: {name: one, port: {number: 80}}}", backend)
    model, _ = translated(text.replace("  rules:", "  surprise: 1\n  rules:"))
    assert notes(model) == [
        "Ingress default/web: spec.surprise is not supported",
        "Ingress default/web: spec.rules[0].http.paths[2].backend.resource is not supported",
    ]


# -- Gateway API

GATEWAY = """
kind: Gateway
metadata: {name: gate}
spec: {gatewayClassName: mine, listeners: [{name: web, port: 80, protocol: HTTP}]}
---
kind: Service
metadata: {name: a}
---
kind: Service
metadata: {name: b}
"""


def route(rules: str, hostnames: str = "[a.test]", kind: str = "HTTPRoute", more: str = "") -> str:
    return f"""{GATEWAY}---
kind: {kind}
metadata: {{name: r}}
spec:
  parentRefs: [{{name: gate}}]
  hostnames: {hostnames}
  rules: {rules}
{more}"""


TO_A = "backendRefs: [{name: a, port: 80}]"


def test_a_route_is_attached_to_its_gateway() -> None:
    model, values = translated(route(f"[{{{TO_A}}}]"))
    assert values["static_resources"]["listeners"][0]["name"] == "http-8080"
    assert routes(values) == {"a.test": [({"prefix": "/"}, {"cluster": "default/a:80", "timeout": "0s"})]}
    assert notes(model) == []


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("path: {type: Exact, value: /x}", {"path": "/x"}),
        ("path: {type: PathPrefix, value: /x/}", {"path_separated_prefix": "/x"}),
        ("path: {type: RegularExpression, value: '/x[0-9]+'}", {"safe_regex": {"regex": "/x[0-9]+"}}),
        (
            "method: GET, headers: [{name: a, value: b}]",
            {
                "prefix": "/",
                "headers": [
                    {"name": "a", "string_match": {"exact": "b"}},
                    {"name": ":method", "string_match": {"exact": "GET"}},
                ],
            },
        ),
        (
            "queryParams: [{type: RegularExpression, name: q, value: 'z+'}]",
            {"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"safe_regex": {"regex": "z+"}}}]},
        ),
    ],
)
def test_matches(match: str, expected: dict[str, Any]) -> None:
    _, values = translated(route(f"[{{matches: [{{{match}}}], {TO_A}}}]"))
    assert routes(values)["a.test"][0][0] == expected


def test_the_more_exact_match_goes_first() -> None:
    matches = [
        "{path: {value: /}}",
        "{path: {value: /long/prefix}}",
        "{path: {value: /long/prefix}, method: GET}",
        "{path: {value: /long/prefix}, headers: [{name: h, value: v}]}",
        "{path: {type: Exact, value: /x}}",
        "{path: {value: /x}, queryParams: [{name: q, value: v}]}",
    ]
    _, values = translated(route(f"[{{matches: [{', '.join(matches)}], {TO_A}}}]"))
    assert [(*next(iter(match.items())), len(match)) for match, _ in routes(values)["a.test"]] == [
        ("path", "/x", 1),
        ("path_separated_prefix", "/long/prefix", 2),
        ("path_separated_prefix", "/long/prefix", 2),
        ("path_separated_prefix", "/long/prefix", 1),
        ("path_separated_prefix", "/x", 2),
        ("prefix", "/", 1),
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (
            "{type: URLRewrite, urlRewrite: {hostname: b.test, "
            "path: {type: ReplacePrefixMatch, replacePrefixMatch: /y}}}",
            {"host_rewrite_literal": "b.test", "prefix_rewrite": "/y"},
        ),
        (
            "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}",
            {"regex_rewrite": {"pattern": {"regex": "^/x/*"}, "substitution": "/"}},
        ),
        (
            "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /y}}}",
            {"regex_rewrite": {"pattern": {"regex": "^[^?]*"}, "substitution": "/y"}},
        ),
        (
            "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, percent: 10}}",
            {
                "request_mirror_policies": [
                    {
                        "cluster": "default/b:80",
                        "runtime_fraction": {"default_value": {"numerator": 10, "denominator": "HUNDRED"}},
                    }
                ]
            },
        ),
    ],
)
def test_filters(filters: str, expected: dict[str, Any]) -> None:
    _, values = translated(route(f"[{{matches: [{{path: {{value: /x}}}}], filters: [{filters}], {TO_A}}}]"))
    assert routes(values)["a.test"][0][1] == {"cluster": "default/a:80", "timeout": "0s", **expected}


def test_headers_are_changed() -> None:
    modifier = "{set: [{name: s, value: 100%}], add: [{name: a, value: v}], remove: [r]}"
    rule = f"[{{filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {modifier}}}], {TO_A}}}]"
    _, values = translated(route(rule))
    made = values["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
    (only,) = made["virtual_hosts"][0]["routes"]
    assert only["request_headers_to_remove"] == ["r"]
    assert [(each["header"]["value"], each["append_action"]) for each in only["request_headers_to_add"]] == [
        ("100%%", "OVERWRITE_IF_EXISTS_OR_ADD"),
        ("v", "APPEND_IF_EXISTS_OR_ADD"),
    ]


def test_a_redirect_needs_no_backend() -> None:
    redirect = "{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}"
    _, values = translated(route(f"[{{filters: [{redirect}]}}]"))
    assert routes(values)["a.test"][0][1] == {
        "response_code": "MOVED_PERMANENTLY",
        "scheme_redirect": "https",
        "port_redirect": 443,
    }


def test_weights_timeouts_and_what_is_missing() -> None:
    backends = "backendRefs: [{name: a, port: 80, weight: 3}, {name: b, port: 81, weight: 1}, {name: c, port: 1}]"
    model, values = translated(route(f"[{{{backends}, timeouts: {{request: 1m30s, backendRequest: 500ms}}}}]"))
    assert routes(values)["a.test"][0][1] == {
        "weighted_clusters": {
            "clusters": [
                {"name": "default/a:80", "weight": 3},
                {"name": "default/b:81", "weight": 1},
                {"name": "no backend", "weight": 1},
            ]
        },
        "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
        "timeout": "90.000s",
        "retry_policy": {"per_try_timeout": "0.500s"},
    }
    assert notes(model) == ["HTTPRoute default/r: spec.rules[0].backendRefs[2]: there is no Service default/c"]


def test_without_a_backend_the_answer_is_500() -> None:
    _, values = translated(route("[{backendRefs: [{name: nobody, port: 80}]}]"))
    assert routes(values)["a.test"][0][1] == {"status": 500}


@pytest.mark.parametrize(
    ("listener", "name", "hosts"),
    [
        ("hostname: '*.test'", "[a.test]", ["a.test"]),
        ("hostname: a.test", "['*.test']", ["a.test"]),
        ("hostname: a.test", "[]", ["a.test"]),
        ("hostname: b.test", "[a.test]", []),
        ("hostname: '*.test'", "[test]", []),
        ("allowedRoutes: {namespaces: {from: None}}", "[a.test]", []),
        ("allowedRoutes: {kinds: [{kind: GRPCRoute}]}", "[a.test]", []),
    ],
)
def test_hosts_are_those_that_both_mean(listener: str, name: str, hosts: list[str]) -> None:
    text = route(f"[{{{TO_A}}}]", name).replace("protocol: HTTP}", f"protocol: HTTP, {listener}}}")
    _, values = translated(text)
    assert list(routes(values)) == hosts


def test_another_namespace_has_to_grant_it() -> None:
    rule = "[{backendRefs: [{name: far, namespace: other, port: 80}]}]"
    service = "\n---\nkind: Service\nmetadata: {name: far, namespace: other}\n"
    grant = """---
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service, name: far}]
"""
    model, values = translated(route(rule) + service)
    assert routes(values)["a.test"][0][1] == {"status": 500}
    assert notes(model) == [
        "HTTPRoute default/r: spec.rules[0].backendRefs[0]: no ReferenceGrant allows Service other/far"
    ]
    _, values = translated(route(rule) + service + grant)
    assert routes(values)["a.test"][0][1]["cluster"] == "other/far:80"


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("{service: s.S, method: M}", {"path": "/s.S/M"}),
        ("{service: s.S}", {"prefix": "/s.S/"}),
        ("{method: M}", {"safe_regex": {"regex": "/[^/]+/M"}}),
        ("{type: RegularExpression, service: 's.*'}", {"safe_regex": {"regex": "/s.*/[^/]+"}}),
    ],
)
def test_methods_of_grpc(method: str, expected: dict[str, Any]) -> None:
    _, values = translated(route(f"[{{matches: [{{method: {method}}}], {TO_A}}}]", kind="GRPCRoute"))
    match, action = routes(values)["a.test"][0]
    assert match == expected
    assert action["cluster"] == "default/a:80/h2"
    assert "typed_extension_protocol_options" in values["static_resources"]["clusters"][0]


@pytest.mark.parametrize(
    ("rule", "note"),
    [
        ("matches: [{path: {type: Magic, value: /}}]", "spec.rules[0].matches[0].path.type Magic is not supported"),
        ("matches: [{path: {type: RegularExpression, value: '('}}]", "'(' is no regular expression"),
        ("filters: [{type: ExtensionRef}]", "spec.rules[0].filters[0].type ExtensionRef is not supported"),
        ("sessionPersistence: {}", "spec.rules[0].sessionPersistence is not supported"),
    ],
)
def test_what_of_a_route_is_not_done_is_noted(rule: str, note: str) -> None:
    model, _ = translated(route(f"[{{{rule}, {TO_A}}}]"))
    (only,) = notes(model)
    assert note in only


@pytest.mark.parametrize(
    ("listener", "note"),
    [
        ("protocol: TCP", "spec.listeners[0].protocol TCP is not supported, only HTTP and HTTPS"),
        ("protocol: HTTPS, tls: {mode: Passthrough}", "spec.listeners[0].tls.mode Passthrough is not supported"),
        (
            "protocol: HTTPS, tls: {certificateRefs: [{name: c}]}",
            "spec.listeners[0].tls.certificateRefs[0]: Secret default/c: there is no such Secret",
        ),
        (
            "protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}",
            "allowedRoutes.namespaces.from Selector is not supported",
        ),
    ],
)
def test_what_of_a_gateway_is_not_done_is_noted(listener: str, note: str) -> None:
    model, values = translated(GATEWAY.replace("protocol: HTTP", listener))
    (only,) = notes(model)
    assert note in only
    assert bool(values["static_resources"]["listeners"]) is ("Selector" in listener)
