"""Configurations and requests whose answers are known from Envoy itself: see `record_envoy_answers.py`."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    """`options` are those of `Bench`; `response` is what the upstream answers."""

    name: str
    options: dict[str, Any]
    request: bytes
    response: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def get(path: str = "/", host: str = "a.com", headers: str = "") -> bytes:
    """`headers` are lines that end in a newline."""
    return f"GET {path} HTTP/1.1\nhost: {host}\n{headers}\n".replace("\n", "\r\n").encode()


def words(text: str) -> list[str]:
    return text.split()


def to_cluster(**fields: Any) -> list[Any]:
    return [{"match": {"prefix": "/"}, "route": {"cluster": "a"}, **fields}]


def added(key: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD", **fields: Any) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": action, **fields}


ACTIONS = ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")

# -- redirects and direct responses


def redirects() -> list[Case]:
    cases: list[Case] = []

    def add(
        redirect: dict[str, Any],
        path: str = "/old/x?y=1",
        host: str = "a.com",
        headers: str = "",
        match: dict[str, Any] | None = None,
        hcm: dict[str, Any] | None = None,
    ) -> None:
        routes = [{"match": match or {"prefix": "/old"}, "redirect": redirect}]
        name = f"{redirect} {match or ''} {host}{path} {headers.strip()} {hcm or ''}"
        cases.append(Case(name, {"routes": routes, "hcm": hcm or {}}, get(path, host, headers)))

    https = "x-forwarded-proto: https\n"
    for host in ("a.com", "a.com:80", "a.com:443", "a.com:8080", "[::1]:80", "[::1]", "a.com:x", "A.com:80"):
        for headers in ("", https):
            add({"https_redirect": True}, host=host, headers=headers)
            add({"scheme_redirect": "http"}, host=host, headers=headers)
            add({"scheme_redirect": "FTP"}, host=host, headers=headers)
            add({"port_redirect": 8443}, host=host, headers=headers)
            add({"path_redirect": "/new"}, host=host, headers=headers)
    add({"host_redirect": "b.com"}, host="a.com:8080")
    add({"host_redirect": "b.com", "port_redirect": 1})
    add({"host_redirect": "b.com:9"})
    add(
        {
            "host_redirect": "b.com",
            "port_redirect": 1,
            "https_redirect": True,
            "path_redirect": "/z",
            "strip_query": True,
            "response_code": "FOUND",
        }
    )
    for code in ("SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"):
        add({"response_code": code, "path_redirect": "/n"})
    for path in ("/new", "/new?a=b"):
        for strip in (False, True):
            add({"path_redirect": path, "strip_query": strip})
    add({"strip_query": True})
    add({"prefix_rewrite": "/new"})
    add({"prefix_rewrite": "/new", "strip_query": True})
    add({"prefix_rewrite": "/"})
    add({"prefix_rewrite": "/new"}, match={"path": "/old"}, path="/old?q")
    add({"prefix_rewrite": "/new"}, match={"safe_regex": {"regex": "/o.*"}}, path="/old/a?q")
    add({"prefix_rewrite": "/new"}, match={"path_separated_prefix": "/old"}, path="/old/a?q")
    add({"prefix_rewrite": "/new"}, match={"prefix": "/OLD", "case_sensitive": False}, path="/old/a?q")
    add({"path_redirect": "/new"}, path="/old?")
    add({"https_redirect": True}, path="http://b.com:80/old/x")
    add({"path_redirect": "/new"}, headers="x-forwarded-proto: ftp\n")
    add({"https_redirect": True}, host="a.com:80", headers="x-forwarded-proto: ftp\n")
    add({"path_redirect": "/new"}, headers=https, hcm={"use_remote_address": True})
    for status in (200, 201, 204, 301, 304, 404, 599):
        for body in ({}, {"body": {"inline_string": "x"}}):
            answer = {"status": status, **body}
            routes = [{"match": {"prefix": "/"}, "direct_response": answer}]
            cases.append(Case(f"direct {answer}", {"routes": routes}, get("/a?b", "a.com:80")))
    return cases


# -- headers that routes add and remove

_HEADERS = "x-a: 1\nx-b: 2\nx-a: 3\nuser-agent: ua\naccept: x\n"
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nx-a: 1\r\nx-b: 2\r\nx-a: 3\r\ncontent-length: 0\r\nserver: q\r\ncontent-type: t\r\n\r\n"
)
_ONCE = words(
    "user-agent accept x-forwarded-for x-request-id content-type via cookie cache-control authorization "
    "x-forwarded-proto server date x-envoy-upstream-service-time location set-cookie etag vary "
    "x-envoy-expected-rq-timeout-ms x-envoy-original-path"
)


def header_additions() -> list[Case]:
    cases: list[Case] = []

    def add(name: str, headers: str = _HEADERS, **options: Any) -> None:
        cases.append(Case(name, options, get(headers=headers), _RESPONSE))

    for action in ACTIONS:
        for key in ("x-a", "x-new", "X-B"):
            for value in ("v", "", "%REQ(nope)%", "%REQ(x-b)%-", "%REQ(nope)%-"):
                for keep in ({}, {"keep_empty_value": True}):
                    both = [added(key, value, action, **keep)]
                    routes = to_cluster(request_headers_to_add=both, response_headers_to_add=both)
                    add(f"{action} {key}: {value} {keep}", routes=routes)
        for key in _ONCE:
            both = [added(key, "v", action)]
            routes = to_cluster(request_headers_to_add=both, response_headers_to_add=both)
            add(f"{action} {key}", f"{key}: old\n", routes=routes)
    for wins in (False, True):
        fields: dict[str, Any] = {"most_specific_header_mutations_wins": wins, **_level("global")}
        fields["virtual_hosts"] = [
            {"name": "all", "domains": ["*"], "routes": to_cluster(**_level("route")), **_level("virtual host")}
        ]
        add(f"levels, most specific wins: {wins}", route_config=fields)
    both, gone = [added("x-a", "n")], ["x-a", "X-B", "nope"]
    add(
        "removed and added",
        routes=to_cluster(
            request_headers_to_add=both,
            request_headers_to_remove=gone,
            response_headers_to_add=both,
            response_headers_to_remove=[*gone, "server"],
        ),
    )
    ordered = [
        added("x-1", "1"),
        added("x-2", "2", ACTIONS[2]),
        added("x-3", "3", ACTIONS[1]),
        added("x-1", "4"),
        added("x-2", "5", ACTIONS[2]),
        added("x-2", "6", ACTIONS[3]),
    ]
    add("order", routes=to_cluster(request_headers_to_add=ordered))
    for append in (True, False):
        option = {"header": {"key": "x-a", "value": "z"}, "append": append}
        add(f"append: {append}", routes=to_cluster(request_headers_to_add=[option]))
    words = "größe €"
    add(
        "text that is not ASCII",
        routes=to_cluster(
            request_headers_to_add=[added("x-u", words)],
            response_headers_to_add=[added("x-u", f"{words} %REQ(x-b)%")],
        ),
    )
    asked = "%PROTOCOL% %REQ(:path)% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_CLUSTER% %ROUTE_NAME% %%"
    told = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESP(x-b)% %UPSTREAM_CLUSTER% %RESPONSE_FLAGS% %BYTES_RECEIVED%"
    add(
        "formats",
        routes=to_cluster(request_headers_to_add=[added("x-u", asked)], response_headers_to_add=[added("x-u", told)]),
    )
    rewritten = to_cluster(request_headers_to_add=[added("x-path", "%REQ(:path)% %REQ(:authority)%")])
    rewritten[0]["route"] |= {"prefix_rewrite": "/p/", "host_rewrite_literal": "b"}
    add("rewriting comes later", routes=rewritten)
    return cases


def _level(text: str) -> dict[str, Any]:
    headers = [added("x-o", text, ACTIONS[2]), added("x-p", text)]
    return {"request_headers_to_add": headers, "response_headers_to_add": headers}


# -- headers that come twice

_TWICE_IN_REQUESTS = words(
    "accept accept-encoding accept-language access-control-request-method access-control-request-headers "
    "access-control-request-private-network access-control-allow-origin authentication authorization cache-control "
    "content-type content-encoding content-language cookie date dnt etag expires forwarded from grpc-timeout "
    "grpc-accept-encoding grpc-status grpc-message grpc-encoding if-match if-none-match if-modified-since if-range "
    "if-unmodified-since last-modified location max-forwards origin pragma proxy-authorization proxy-status range "
    "referer server set-cookie age vary trailer user-agent via warning www-authenticate x-client-trace-id "
    "x-envoy-attempt-count x-envoy-decorator-operation x-envoy-degraded x-envoy-downstream-service-cluster "
    "x-envoy-downstream-service-node x-envoy-external-address x-envoy-immediate-health-check-fail "
    "x-envoy-original-host x-envoy-original-path x-envoy-overloaded x-envoy-ratelimited x-envoy-upstream-canary "
    "x-envoy-upstream-healthchecked-cluster x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto "
    "x-request-id x-custom x-envoy-is-timeout-retry x-envoy-local-overloaded upgrade-insecure-requests expect"
)
_TWICE_IN_RESPONSES = words(
    "access-control-allow-headers access-control-expose-headers access-control-max-age "
    "access-control-allow-credentials access-control-allow-origin access-control-allow-methods "
    "access-control-allow-private-network cache-control content-type content-encoding etag expires grpc-status "
    "grpc-message last-modified location proxy-status age vary via x-envoy-attempt-count x-envoy-decorator-operation "
    "x-envoy-degraded x-envoy-immediate-health-check-fail x-envoy-ratelimited x-envoy-upstream-canary "
    "x-envoy-upstream-healthchecked-cluster x-request-id server x-envoy-upstream-service-time x-envoy-overloaded "
    "x-envoy-local-overloaded set-cookie www-authenticate x-envoy-external-address accept user-agent connection"
)


def repeated_headers() -> list[Case]:
    cases = [Case(f"request {name}", {}, get(headers=f"{name}: 1\n{name}: 2\n")) for name in _TWICE_IN_REQUESTS]
    for name in _TWICE_IN_RESPONSES:
        lines = f"{name}: 1\r\n{name}: 2\r\n".encode()
        response = b"HTTP/1.1 200 OK\r\n" + lines + b"content-length: 0\r\n\r\n"
        cases.append(Case(f"response {name}", {}, get(), response))
    return cases


# -- who asks, and what is believed

_ANY_INSIDE = {
    "internal_address_config": {
        "cidr_ranges": [
            {"address_prefix": "127.0.0.0", "prefix_len": 8},
            {"address_prefix": "10.0.0.0", "prefix_len": 8},
        ]
    }
}
_TEN_INSIDE = {"internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}}
_EDGE = {"use_remote_address": True}
_MANAGERS: tuple[dict[str, Any], ...] = (
    {},
    _EDGE,
    _ANY_INSIDE,
    {**_EDGE, **_ANY_INSIDE},
    {**_EDGE, **_TEN_INSIDE},
    _TEN_INSIDE,
    {**_EDGE, "xff_num_trusted_hops": 1},
    {**_EDGE, "xff_num_trusted_hops": 2},
    {"xff_num_trusted_hops": 1},
    {"xff_num_trusted_hops": 1, **_TEN_INSIDE},
    {**_EDGE, "xff_num_trusted_hops": 1, **_TEN_INSIDE},
    {**_EDGE, "skip_xff_append": True},
    {**_EDGE, "append_x_forwarded_port": True},
    {**_EDGE, "preserve_external_request_id": True},
    {"generate_request_id": False},
    {"via": "me"},
    {"add_user_agent": True},
    {**_EDGE, "add_user_agent": True},
    {"always_set_request_id_in_response": True},
)
_CONTROL = """x-envoy-internal: true
x-envoy-force-trace: 1
x-envoy-retry-on: 5xx
x-envoy-max-retries: 2
x-envoy-upstream-rq-timeout-ms: 3000
x-envoy-expected-rq-timeout-ms: 4000
x-envoy-ip-tags: t
x-forwarded-client-cert: c
x-envoy-decorator-operation: op
x-envoy-downstream-service-cluster: sc
x-envoy-downstream-service-node: sn
x-envoy-external-address: 9.9.9.9
x-envoy-attempt-count: 7
x-envoy-original-path: /op
x-envoy-original-host: oh
x-envoy-upstream-stream-duration-ms: 5
x-envoy-hedge-on-per-try-timeout: 1
x-envoy-upstream-alt-stat-name: alt
x-request-id: mine
"""
_SENDERS = {
    "nothing": "",
    "one hop": "x-forwarded-for: 10.1.1.1\n",
    "two hops": "x-forwarded-for: 1.2.3.4, 10.1.1.1\n",
    "three hops": "x-forwarded-for: 10.9.9.9,1.2.3.4 ,  5.6.7.8\n",
    "nonsense": "x-forwarded-for: nonsense\n",
    "an empty hop": "x-forwarded-for: \n",
    "two lines": "x-forwarded-for: 10.0.0.1\nx-forwarded-for: 10.0.0.2\n",
    "a hop with a port": "x-forwarded-for: 10.1.1.1:80\n",
    "IPv6": "x-forwarded-for: ::1\n",
    "Envoy's headers": _CONTROL,
    "Envoy's headers from inside": f"{_CONTROL}x-forwarded-for: 10.1.1.1\n",
    "https": "x-forwarded-proto: https\n",
    "https from inside": "x-forwarded-proto: https\nx-forwarded-for: 10.1.1.1\nx-forwarded-port: 99\n",
}
_CONNECTION_HEADERS = (
    "connection: keep-alive\n",
    "connection: close\n",
    "connection: x-foo\nx-foo: 1\n",
    "keep-alive: 5\n",
    "proxy-connection: x\n",
    "te: trailers\n",
    "te: gzip\n",
    "te: trailers, deflate\n",
    "te: trailers;q=1\n",
    "upgrade-insecure-requests: 1\n",
    "upgrade: websocket\n",
    "connection: upgrade\nupgrade: h2c\nhttp2-settings: x\n",
    "trailer: x\n",
    "expect: x\n",
)


def request_headers() -> list[Case]:
    address = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(:scheme)%"
    routes = to_cluster(request_headers_to_add=[added("x-addr", address)])
    virtual_hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    fields = {"virtual_hosts": virtual_hosts, "internal_only_headers": ["x-secret"]}
    cases = [
        Case(f"{sender} to {hcm}", {"hcm": hcm, "route_config": fields}, get(headers=f"x-secret: s\n{headers}"))
        for hcm in _MANAGERS
        for sender, headers in _SENDERS.items()
    ]
    return cases + [Case(headers.strip(), {}, get(headers=headers)) for headers in _CONNECTION_HEADERS]


# -- paths and hosts

_PATHS = words(
    r"/a/b?c /a/../b /a/./b /../x /a/.. /a/. /a//b///c?d//e /%61%2e%2E/x /a%2fb /a%5Cb%2Fc /a\b\..\c /a%00b /a%zz /% "
    "/a/%2e%2e/b /a/..%2fb /a;p/../b /a/..;x/b /?a=/../b // /. /.. /... /a/b/../../../c /%7Euser/%7e /a%20b%41 /a%2"
)
_PATH_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"normalize_path": True},
    {"merge_slashes": True},
    {"normalize_path": True, "merge_slashes": True},
    {"path_with_escaped_slashes_action": "REJECT_REQUEST"},
    {"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD", "normalize_path": True, "merge_slashes": True},
    {"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT", "normalize_path": True, "merge_slashes": True},
)
_HOSTS = words("a.com:80 a.com a.com.:80 a.com. [::1]:80 [::1] a.com: a.com:x . :80")
_HOST_OPTIONS: tuple[dict[str, Any], ...] = (
    {"strip_any_host_port": True},
    {"strip_trailing_host_dot": True},
    {"strip_trailing_host_dot": True, "strip_any_host_port": True},
)


def paths_and_hosts() -> list[Case]:
    grpc = "content-type: application/grpc\n"
    redirecting = _PATH_OPTIONS[-1]
    return [
        *(Case(f"{path} {hcm}", {"hcm": hcm}, get(path)) for hcm in _PATH_OPTIONS for path in _PATHS),
        *(Case(f"{host} {hcm}", {"hcm": hcm}, get(host=host)) for hcm in _HOST_OPTIONS for host in _HOSTS),
        Case("gRPC clients are not redirected", {"hcm": redirecting}, get("/a%2fb", headers=grpc)),
    ]


TOPICS = {
    each.__name__: each for each in (redirects, header_additions, repeated_headers, request_headers, paths_and_hosts)
}
