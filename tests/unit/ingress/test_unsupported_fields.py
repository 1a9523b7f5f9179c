"""Nothing that an object says is passed over in silence: what is not done is noted, wherever it stands."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from minienvoy.ingress.controller import translate
from tests.unit.ingress.test_translation import SETTINGS, found, notes, pem, secret

EVERYTHING = """
kind: Gateway
metadata: {name: gate}
spec:
  gatewayClassName: mine
  listeners:
  - {name: web, port: 80, protocol: HTTP, hostname: "*.test", allowedRoutes: {namespaces: {from: All}, kinds: [{kind: HTTPRoute}]}}
  - {name: tls, port: 443, protocol: HTTPS, hostname: "*.test", tls: {mode: Terminate, certificateRefs: [{kind: Secret, group: "", name: cert}]}}
---
kind: Ingress
metadata: {name: ingress}
spec:
  ingressClassName: mine
  defaultBackend: {service: {name: a, port: {name: http}}}
  tls: [{hosts: [a.test], secretName: cert}]
  rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]
---
kind: HTTPRoute
metadata: {name: http}
spec:
  parentRefs: [{name: gate, namespace: default, kind: Gateway, group: gateway.networking.k8s.io, sectionName: web, port: 80}]
  hostnames: [a.test]
  rules:
  - name: one
    matches:
    - path: {type: Exact, value: /x}
      method: GET
      headers: [{type: Exact, name: a, value: b}]
      queryParams: [{type: Exact, name: a, value: b}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}}
    - {type: URLRewrite, urlRewrite: {hostname: b.test, path: {type: ReplaceFullPath, replaceFullPath: /y}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80, kind: Service, group: ""}, percent: 5}}
    backendRefs:
    - name: a
      namespace: default
      kind: Service
      group: ""
      port: 80
      weight: 3
      filters: [{type: URLRewrite, urlRewrite: {hostname: c.test}}]
    timeouts: {request: 1s, backendRequest: 500ms}
  - filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: c.test, path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}, port: 8443, statusCode: 301}}]
---
kind: GRPCRoute
metadata: {name: grpc}
spec:
  parentRefs: [{name: gate, sectionName: tls}]
  hostnames: [a.test]
  rules:
  - matches: [{method: {type: Exact, service: a.B, method: C}, headers: [{type: Exact, name: a, value: b}]}]
    backendRefs: [{name: a, port: 80}]
---
kind: Service
metadata: {name: a}
---
kind: Service
metadata: {name: b}
"""  # noqa: E501
EVERYTHING += f"---\n{secret('cert', tls_crt=pem()[0], tls_key=pem()[1])}"
OBJECTS = list(yaml.safe_load_all(EVERYTHING))
LOOKED_AT = ("Gateway", "Ingress", "HTTPRoute", "GRPCRoute")


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a mapping stands."""
    if isinstance(values, dict):
        yield path
        for name, each in values.items():
            yield from places(each, (*path, name))
    elif isinstance(values, list):
        for at, each in enumerate(values):
            yield from places(each, (*path, at))


def text_of(path: tuple[Any, ...]) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path).lstrip(".")


EVERY_PLACE = [
    (at, path)
    for at, each in enumerate(OBJECTS)
    if each["kind"] in LOOKED_AT
    for path in places(each["spec"], ("spec",))
]


def test_everything_that_is_supported_is_noted_nowhere() -> None:
    assert notes(translate(found(EVERYTHING), SETTINGS)) == []


@pytest.mark.parametrize(
    ("at", "path"), EVERY_PLACE, ids=lambda each: text_of(each) if isinstance(each, tuple) else None
)
def test_a_field_that_is_not_known_is_noted_wherever_it_stands(at: int, path: tuple[Any, ...]) -> None:
    objects = copy.deepcopy(OBJECTS)
    place = objects[at]
    for each in path:
        place = place[each]
    place["surprise"] = {}
    told = notes(translate(found(yaml.safe_dump_all(objects)), SETTINGS))
    kind, name = objects[at]["kind"], objects[at]["metadata"]["name"]
    assert f"{kind} default/{name}: {text_of(path)}.surprise is not supported" in told


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("gatewayClassName: mine->gatewayClassName: mine\n  addresses: []", "spec.addresses"),
        ("kinds: [{kind: HTTPRoute}]->kinds: [{kind: HTTPRoute}, {kind: TCPRoute}]", "kinds[1] TCPRoute"),
        ("from: All->from: Selector", "namespaces.from Selector"),
        ("mode: Terminate->mode: Passthrough", "tls.mode Passthrough"),
        ("[{kind: Secret,->[{kind: ConfigMap,", "certificateRefs[0] is no Secret"),
        ("name: cert}]->name: cert}, {name: cert}]", "only the first of several"),
        ("sectionName: web->sectionName: none", "spec.parentRefs[0]: Gateway default/gate has no such listener"),
        ("port: 80}]\n  hostnames->port: 81}]\n  hostnames", "Gateway default/gate has no such listener"),
        ("hostnames: [a.test]\n  rules:\n  - name->hostnames: [a.other]\n  rules:\n  - name", "has other hosts"),
        ("kinds: [{kind: HTTPRoute}]->kinds: [{kind: GRPCRoute}]", "does not allow it"),
        ("statusCode: 301->statusCode: 418", "statusCode 418"),
        ("type: ReplaceFullPath->type: Magic", "urlRewrite.path.type Magic"),
        ("method: {type: Exact->method: {type: Magic", "method.type Magic"),
        ("{type: Exact, name: a, value: b}]\n      queryParams->{type: Magic, name: a, value: b}]\n      queryParams",
         "headers[0].type Magic"),
        ("urlRewrite: {hostname: c.test}->urlRewrite: {path: {replacePrefixMatch: /}}",
         "filters[0].urlRewrite.path is not supported for one backend of a rule"),
        ("filters: [{type: URLRewrite, urlRewrite: {hostname: c.test}}]->filters: [{type: RequestMirror}]",
         "filters[0].type RequestMirror is not supported for one backend of a rule"),
        ("{backendRef: {name: b, port: 80, kind: Service->{backendRef: {name: b, port: 80, kind: Bucket",
         "backendRef is no Service"),
        ("pathType: Prefix->pathType: Magic", "paths[0].pathType Magic"),
        ("metadata: {name: ingress}->metadata: {name: ingress, annotations: "
         "{nginx.ingress.kubernetes.io/rewrite-target: /, other: x}}",
         "metadata.annotations[nginx.ingress.kubernetes.io/rewrite-target] is not supported"),
    ],
)  # fmt: skip
def test_what_is_known_and_not_done_is_noted(change: str, note: str) -> None:
    before, after = change.split("->")
    assert before in EVERYTHING
    told = notes(translate(found(EVERYTHING.replace(before, after)), SETTINGS))
    assert [each for each in told if note in each], told


def test_of_one_backend_the_host_is_rewritten() -> None:
    model = translate(found(EVERYTHING), SETTINGS)
    actions = [each.values.get("route", {}) for port in model.ports.values() for each in port.hosts["a.test"]]
    ((cluster,),) = [each["weighted_clusters"]["clusters"] for each in actions if "weighted_clusters" in each]
    assert cluster == {"name": "default/a:80", "weight": 3, "host_rewrite_literal": "c.test"}
