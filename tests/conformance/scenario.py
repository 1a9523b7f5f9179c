"""Scenario files, and how a case of five lines becomes a whole bootstrap.

A scenario is a YAML file: `about` (one sentence), `shared` (keys that every case starts from), `cases` (name to case)
and `sequence: true` if the cases are one conversation with one process: then only the first brings configuration.
Everything a case does not say is supplied: a listener on 127.0.0.1 port 0 with an HTTP connection manager, one
catch-all route to the cluster `backend`, an access log, and a backend that answers 200 "ok".

Keys of a case, all optional:

* what the client does: `get`, `request`, `send` or `ask` (one step), `steps` (a list) or `parallel` (name to list),
  see client.py; `table` is a list of requests, one line each, answered by one line each, with the response headers
  whose names begin with one of `shows`; `after` are steps behind it
* `h2: true` (or a mapping, see `http2.Session`): the client speaks HTTP/2, and what it sends are frames (http2.py)
* what the upstreams do: `backends` (name to spec, see backends.py); each has a STATIC cluster of its name unless
  `clusters` says otherwise; `dns` is the zone of a name server (see dns.py), `files` are put into the directory
  (name to content, or to `{link: name}`)
* configuration: `hcm`, `router`, `cluster` and `listener` are merged over the defaults; `routes`, `virtual_hosts`,
  `http_filters`, `filters`, `filter_chains`, `access_log`, `listeners`, `clusters` and `bootstrap` replace or add.
  In `filters`, `{echo: {...}}` stands for the network filter with its type URL, in `http_filters` (of `http_options`,
  too) and in the router's `upstream_http_filters` `{fault: {...}}` for that HTTP filter, `{lua: text}` for a script;
  `log` is the text of a log line. `tls` of a case, of a filter chain or of a cluster: see tls.py.
  `listener_filters` has `{tls_inspector: {...}}` for the listener filter of that name. `udp` of a case, or of a
  listener, makes it one for datagrams: it is what its UDP proxy is told besides its cluster, which is `backend`.
* `watch` (seconds to watch for the end), `raw` (do not interpret bytes as HTTP), `stats: true` (compare counters),
  `compare_upstream: false` (what the upstreams were sent is a matter of timing),
  `unordered: true` (parallel connections: order does not count), `reset_is_closed: true` (an RST is as good as a FIN,
  because Envoy's own end is a race), `own_process: true`, `args` (command line), `body` (see admin.py),
  `as_process: true` (what minienvoy can not do inside the judge's process: signals, a clock that is not the loop's).

* `tokens`: see tokens.py.

* `spans: true`: upstreams are sent spans, which are compared by their shape; see spans.py.

* `segments: true`: the same of SkyWalking, whose collector is a backend with `metrics: segments`; see segments.py.

* `datadog: true`: the same of Datadog, whose agent is a backend with `metrics: datadog`; see datadog.py.

* `coded_requests: true`: upstreams are sent compressed bodies, and how many bytes those are depends on the library.

* `race: true`: which of two connections is there first decides, so only virtual time can tell.

* `requires` (what an RFC asks for, see test_h2spec.py).

* `spread: {requests: n}`: the request n times, and how many of them each backend was given, compared as a distribution;
  see spread.py. The transcripts and the log are not compared then.

A case of validation has no client: `base` (a configuration) with `change: [old, new]` and `says` (the words of the
refusal that matter), or `rows` (texts, or pairs of text and words) put into `template` at `@@`, with the file `suffix`.
`unsupported_is_refused: true`: so is what minienvoy does not support.

Merging: a mapping is merged key by key, null removes a key, everything else (and `backends`) replaces. `{name}` in a
string stands for the port of the backend `name`, `{dns}` for that of the name server, `{log}` for the access log file,
`{dir}` for a directory, `{descriptors}` for that of the descriptor sets, and `{own}`, in `bootstrap` `{id}`, for the
prefix of the case's names. In what the client sends, `{address:name}` is the address of that backend, `{base64:name}`
the same in base64, and `{port:name}` its port.

All cases of a file run in one process, each with listeners, clusters, statistics and files under a prefix of its own
(`c007_`), so they cannot disturb each other and may run at the same time.
"""

from __future__ import annotations

import base64
import copy
import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from . import tls, tokens

HERE = Path(__file__).parent
DESCRIPTORS = HERE / "descriptors"
SCENARIOS = HERE / "scenarios"

LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% flags=%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "rx=%BYTES_RECEIVED% tx=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER% host=%UPSTREAM_HOST% "
    "attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% term=%CONNECTION_TERMINATION_DETAILS%"
)

LOG_OF_DATAGRAMS = (
    "%ACCESS_LOG_TYPE% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% host=%UPSTREAM_HOST% rx=%BYTES_RECEIVED% "
    "tx=%BYTES_SENT% %DYNAMIC_METADATA(udp.proxy.session)%"
)

_TYPE = "type.googleapis.com/envoy.extensions."
NETWORK_FILTERS = {
    "connection_limit": ("connection_limit", "filters.network.connection_limit.v3.ConnectionLimit"),
    "local_ratelimit": ("local_ratelimit", "filters.network.local_ratelimit.v3.LocalRateLimit"),
    "hcm": ("http_connection_manager", "filters.network.http_connection_manager.v3.HttpConnectionManager"),
    "tcp_proxy": ("tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy"),
    "echo": ("echo", "filters.network.echo.v3.Echo"),
    "direct_response": ("direct_response", "filters.network.direct_response.v3.Config"),
    "rbac": ("rbac", "filters.network.rbac.v3.RBAC"),
    "set_filter_state": ("set_filter_state", "filters.network.set_filter_state.v3.Config"),
    "ext_authz": ("ext_authz", "filters.network.ext_authz.v3.ExtAuthz"),
    "ratelimit": ("ratelimit", "filters.network.ratelimit.v3.RateLimit"),
}
HTTP_FILTERS = {
    "api_key_auth": "filters.http.api_key_auth.v3.ApiKeyAuth",
    "basic_auth": "filters.http.basic_auth.v3.BasicAuth",
    "adaptive_concurrency": "filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
    "admission_control": "filters.http.admission_control.v3.AdmissionControl",
    "aws_request_signing": "filters.http.aws_request_signing.v3.AwsRequestSigning",
    "bandwidth_limit": "filters.http.bandwidth_limit.v3.BandwidthLimit",
    "buffer": "filters.http.buffer.v3.Buffer",
    "fault": "filters.http.fault.v3.HTTPFault",
    "grpc_http1_bridge": "filters.http.grpc_http1_bridge.v3.Config",
    "grpc_http1_reverse_bridge": "filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
    "grpc_json_transcoder": "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
    "grpc_stats": "filters.http.grpc_stats.v3.FilterConfig",
    "grpc_web": "filters.http.grpc_web.v3.GrpcWeb",
    "local_ratelimit": "filters.http.local_ratelimit.v3.LocalRateLimit",
    "lua": "filters.http.lua.v3.Lua",
    "compressor": "filters.http.compressor.v3.Compressor",
    "cors": "filters.http.cors.v3.Cors",
    "credential_injector": "filters.http.credential_injector.v3.CredentialInjector",
    "csrf": "filters.http.csrf.v3.CsrfPolicy",
    "decompressor": "filters.http.decompressor.v3.Decompressor",
    "ext_authz": "filters.http.ext_authz.v3.ExtAuthz",
    "ext_proc": "filters.http.ext_proc.v3.ExternalProcessor",
    "header_mutation": "filters.http.header_mutation.v3.HeaderMutation",
    "header_to_metadata": "filters.http.header_to_metadata.v3.Config",
    "ip_tagging": "filters.http.ip_tagging.v3.IPTagging",
    "json_to_metadata": "filters.http.json_to_metadata.v3.JsonToMetadata",
    "jwt_authn": "filters.http.jwt_authn.v3.JwtAuthentication",
    "ratelimit": "filters.http.ratelimit.v3.RateLimit",
    "rbac": "filters.http.rbac.v3.RBAC",
    "set_filter_state": "filters.http.set_filter_state.v3.Config",
    "set_metadata": "filters.http.set_metadata.v3.Config",
    "upstream_codec": "filters.http.upstream_codec.v3.UpstreamCodec",
}
OWNERS_OF_STAT_PREFIXES = (
    "BandwidthLimit",
    "ConnectionLimit",
    "ExtAuthz",
    "HttpConnectionManager",
    "LocalRateLimit",
    "RateLimit",
    "RBAC",
    "TcpProxy",
    "UdpProxyConfig",
)
NAMES_OF_CLUSTERS = ("server_listener_name", "cluster", "cluster_name", "upstream_cluster", "collector_cluster")
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


_WAITS = re.compile(
    r'"(sleep|pause|resume|for|within|fill_interval)": |"[0-4](\.\d+)?s"|"0?\.\d+s"|timeout[-_]ms|"down": "silent"'
)


_OWN_ADDRESS = re.compile(r"\{(address|base64|port|token):(\w+)\}")


class _Loader(yaml.CSafeLoader):
    """YAML where only true and false are booleans: `on: name` is a step's key and `On` a header value."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


@dataclass(slots=True)
class Case:
    """One case of a scenario; `id` is the prefix of its names in a shared process.

    A `sequel` brings no configuration of its own: it talks to what the first case of its file has set up.
    """

    scenario: str
    name: str
    spec: dict[str, Any]
    id: str = "c00"
    sequel: bool = False
    files: dict[str, Path] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def validates(self) -> bool:
        return "base" in self.spec or "rows" in self.spec

    @property
    def own_process(self) -> bool:
        return bool(self.spec.get("own_process") or "bootstrap" in self.spec or "args" in self.spec)

    @property
    def needs_a_process(self) -> bool:
        """What can not be had inside the judge's own process, or not in virtual time: c-ares has a clock of its own."""
        needs = self.validates or bool(self.spec.get("as_process"))
        return needs or '"silent": true' in json.dumps(self.spec.get("dns", {}))

    @property
    def depends_on_time(self) -> bool:
        """Whether a machine that is busy could change what comes out: somebody waits, or gives up soon."""
        spec = json.dumps(self.spec, default=str)
        # Where every frame is shown, which acknowledgement comes before the end is a matter of time.
        races = "spread" in self.spec or bool(self.spec.get("race"))
        return races or '"show": "all"' in spec or bool(_WAITS.search(spec))

    @property
    def compares_stats(self) -> bool:
        return bool(self.spec.get("stats"))

    def spread_requests(self) -> list[Any]:
        """The requests of a statistical case, in order."""
        spread = self.spec["spread"]
        messages = spread.get("requests_as") or [
            self.spec.get("request") or f"GET {self.spec.get('get', '/')} HTTP/1.1\r\nhost: a.test\r\n\r\n"
        ]
        return [messages[number % len(messages)] for number in range(spread["requests"])]

    def steps(self) -> list[dict[str, Any]]:
        if "ask" in self.spec:
            return [*self.spec.get("first", []), {"on": "admin", "to": "admin", "ask": self.spec["ask"]}]
        for verb in ("get", "request", "send"):
            if verb in self.spec:
                more = [{"expect": "response"}] if verb == "send" else []
                return [{verb: self.filled(self.spec[verb])}, *more]
        return self.filled(list(self.spec.get("steps", [])))  # type: ignore[no-any-return]

    def filled(self, tree: Any) -> Any:
        """With the addresses of backends in place of `{address:name}` and `{base64:name}`."""
        if isinstance(tree, dict):
            return {key: self.filled(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.filled(value) for value in tree]
        return _OWN_ADDRESS.sub(self._address, tree) if isinstance(tree, str) else tree

    def _address(self, match: re.Match[str]) -> str:
        if match[1] == "port":
            return str(self.ports[match[2]])
        if match[1] == "token":
            return tokens.sign(self.spec["tokens"][match[2]])
        address = f"127.0.0.1:{self.ports[match[2]]}"
        return address if match[1] == "address" else base64.b64encode(address.encode()).decode()


def names() -> list[str]:
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


@cache
def load(name: str) -> list[Case]:
    """The cases of a scenario file, in its order; who asks again gets the same ones."""
    tree = yaml.load((SCENARIOS / f"{name}.yaml").read_text("utf-8"), Loader=_Loader)
    known = {"about", "shared", "sequence", "cases"}
    if unknown := set(tree) - known:
        raise ValueError(f"{name}.yaml: unknown keys {sorted(unknown)}; known are {sorted(known)}")
    shared = tree.get("shared", {})

    def started_from(spec: dict[str, Any] | None) -> dict[str, Any]:
        spec = spec or {}
        kept = {key: value for key, value in shared.items() if not (key == "backends" and key in spec)}
        return merge(kept, spec)  # type: ignore[no-any-return]

    if tree.get("sequence"):
        return [
            Case(name, title, started_from(spec), "c000", sequel=number > 0)
            for number, (title, spec) in enumerate(tree["cases"].items())
        ]
    return [
        Case(name, title, started_from(spec), f"c{number:03d}")
        for number, (title, spec) in enumerate(tree["cases"].items())
    ]


def merge(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return copy.deepcopy(over)
    merged = {key: copy.deepcopy(value) for key, value in base.items() if not (key in over and over[key] is None)}
    for key, value in over.items():
        if value is not None:
            merged[key] = merge(merged.get(key), value)
    return merged


def backends_of(case: Case) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = case.spec.get("backends", {"backend": {}})
    if "tokens" in case.spec:
        found = _fill(found, tokens.words())
    return {name: spec or {} for name, spec in found.items()}


def _address(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _access_log(case: Case) -> list[Any]:
    if "access_log" in case.spec:
        return list(case.spec["access_log"] or [])
    line = case.spec.get("log", LOG_OF_DATAGRAMS if "udp" in case.spec else LOG) + "\n"
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": _TYPE + "access_loggers.file.v3.FileAccessLog",
                "path": "{log}",
                "log_format": {"text_format_source": {"inline_string": line}},
            },
        }
    ]


def _hcm(case: Case, over: dict[str, Any]) -> dict[str, Any]:
    router = {"@type": _TYPE + "filters.http.router.v3.Router", **case.spec.get("router", {})}
    if "upstream_http_filters" in router:
        router["upstream_http_filters"] = [*map(_http_filter, router["upstream_http_filters"])]
    routes = case.spec.get("routes", [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}])
    hosts = case.spec.get("virtual_hosts", [{"name": "all", "domains": ["*"], "routes": routes}])
    default = {
        "stat_prefix": "ingress",
        "access_log": _access_log(case),
        "route_config": {"name": "routes", "virtual_hosts": hosts},
        "http_filters": [
            *map(_http_filter, case.spec.get("http_filters", [])),
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    return merge(merge(default, case.spec.get("hcm", {})), over)  # type: ignore[no-any-return]


def _http_filter(short: dict[str, Any]) -> dict[str, Any]:
    """`{fault: {...}}` stands for the filter of that name with its type URL."""
    kind = next(iter(short))
    if len(short) > 1 or kind not in HTTP_FILTERS:
        return short
    settings = short[kind] or {}
    if isinstance(settings, str):
        settings = {"default_source_code": {"inline_string": settings}}
    config = {"@type": _TYPE + HTTP_FILTERS[kind], **settings}
    return {"name": f"envoy.filters.http.{kind}", "typed_config": config}


def _listener_filter(short: dict[str, Any]) -> dict[str, Any]:
    ((kind, config),) = short.items()
    type_name = "".join(map(str.capitalize, kind.split("_")))
    return {
        "name": f"envoy.filters.listener.{kind}",
        "typed_config": {"@type": f"{_TYPE}filters.listener.{kind}.v3.{type_name}", **(config or {})},
    }


def _filters(case: Case, filters: list[Any]) -> list[Any]:
    shown = []
    for short in filters:
        if len(short) == 1 and (kind := next(iter(short))) in NETWORK_FILTERS:
            name, type_name = NETWORK_FILTERS[kind]
            config = short[kind] or {}
            if kind == "hcm":
                config = _hcm(case, config)
            elif kind == "tcp_proxy":
                both = "cluster" not in config and "weighted_clusters" not in config
                config = {
                    "stat_prefix": "tcp",
                    "access_log": _access_log(case),
                    **({"cluster": "backend"} if both else {}),
                    **config,
                }
            shown.append(
                {"name": f"envoy.filters.network.{name}", "typed_config": {"@type": _TYPE + type_name, **config}}
            )
        else:
            shown.append(short)
    return shown


def _udp_listener(case: Case, name: str, over: dict[str, Any]) -> dict[str, Any]:
    over = dict(over)
    proxy = merge(case.spec.get("udp") or {}, over.pop("udp", None) or {})
    route = {"@type": f"{_TYPE}filters.udp.udp_proxy.v3.Route", "cluster": "backend"}
    config = {
        "@type": f"{_TYPE}filters.udp.udp_proxy.v3.UdpProxyConfig",
        "stat_prefix": name,
        "access_log": _access_log(case),
        "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": route}}},
        **proxy,
    }
    if "cluster" in proxy:
        del config["matcher"]
    default = {
        "name": name,
        "stat_prefix": name,
        "address": _address(0),
        "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": config}],
    }
    listener: dict[str, Any] = merge(merge(default, case.spec.get("listener", {})), over)
    listener["address"]["socket_address"]["protocol"] = "UDP"
    return listener


def _listener(case: Case, name: str, over: dict[str, Any]) -> dict[str, Any]:
    if "udp" in case.spec or "udp" in over:
        return _udp_listener(case, name, over)
    only = {"filters": case.spec.get("filters", [{"hcm": {}}])}
    if "tls" in case.spec:
        only["tls"] = case.spec["tls"]
    chains = case.spec.get("filter_chains", [only])
    default = {"name": name, "stat_prefix": name, "address": _address(0), "filter_chains": chains}
    listener: dict[str, Any] = merge(merge(default, case.spec.get("listener", {})), over)
    if "listener_filters" in case.spec:
        listener["listener_filters"] = [_listener_filter(short) for short in case.spec["listener_filters"]]
    for chain in [*listener["filter_chains"], listener.get("default_filter_chain") or {}]:
        if "filters" in chain:
            chain["filters"] = _filters(case, chain["filters"])
        if "tls" in chain:
            chain["transport_socket"] = tls.transport_socket("Downstream", chain.pop("tls"))
    return listener


def _clusters(case: Case) -> list[dict[str, Any]]:
    wanted: dict[str, Any] = {name: {} for name in backends_of(case)} | (case.spec.get("clusters") or {})
    shown = []
    for name, over in wanted.items():
        if over is None:
            continue
        host = backends_of(case).get(name, {}).get("host", "127.0.0.1")
        default: dict[str, Any] = {"name": name, "connect_timeout": "1s"}
        if "type" not in over and "cluster_type" not in over:
            default["type"] = "STATIC"
        if name in backends_of(case):
            endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": f"{{{name}}}"}}}}
            default["load_assignment"] = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
        cluster = merge(merge(default, case.spec.get("cluster", {})), over)
        if "tls" in cluster:
            cluster["transport_socket"] = tls.transport_socket("Upstream", cluster.pop("tls") or {})
        if "http_options" in cluster:
            options = {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", **cluster.pop("http_options")}
            options.setdefault("explicit_http_config", {"http_protocol_options": {}})
            if "http_filters" in options:
                options["http_filters"] = [*map(_http_filter, options["http_filters"])]
            cluster["typed_extension_protocol_options"] = {HTTP_OPTIONS: options}
        shown.append(cluster)
    return shown


def resources(case: Case, ports: dict[str, int], directory: Path) -> tuple[list[Any], list[Any]]:
    """Listeners and clusters of a case, its names prefixed with its id and its placeholders filled."""
    listeners = [_listener(case, name, over or {}) for name, over in case.spec.get("listeners", {"main": {}}).items()]
    case.files["log"] = directory / f"{case.id}_log.txt"
    case.ports = dict(ports)
    words: dict[str, Any] = {
        **ports,
        "log": str(case.files["log"]),
        "dir": str(directory),
        "certs": str(tls.CERTIFICATES),
        "descriptors": str(DESCRIPTORS),
        "own": case.id,
        **(tokens.words() if "tokens" in case.spec else {}),
    }
    filled = _fill({"listeners": listeners, "clusters": _clusters(case)}, words)
    _prefix(filled["listeners"], case.id)
    _prefix(filled["clusters"], case.id)
    for resource in filled["listeners"] + filled["clusters"]:
        resource["name"] = f"{case.id}_{resource['name']}"
    for listener in filled["listeners"]:
        if "stat_prefix" in listener:
            listener["stat_prefix"] = f"{case.id}_{listener['stat_prefix']}"
    return filled["listeners"], filled["clusters"]


def own_bootstrap(case: Case, directory: Path) -> dict[str, Any]:
    """What a case adds to the bootstrap; `{log}`, `{dir}`, `{certs}`, `{id}` and ports of backends are filled."""
    words = {
        "log": str(case.files.get("log", "")),
        "dir": str(directory),
        "certs": str(tls.CERTIFICATES),
        "id": case.id,
        **case.ports,
    }
    filled: dict[str, Any] = _fill(case.spec.get("bootstrap") or {}, words)
    return filled


def bootstrap(listeners: list[Any], clusters: list[Any], over: dict[str, Any] | None = None) -> dict[str, Any]:
    base = {"admin": {"address": _address(0)}, "static_resources": {"listeners": listeners, "clusters": clusters}}
    return merge(base, over or {})  # type: ignore[no-any-return]


def _fill(tree: Any, words: dict[str, Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _fill(value, words) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_fill(value, words) for value in tree]
    if isinstance(tree, str) and "{" in tree:
        if tree[0] == "{" and tree[1:-1] in words:
            return words[tree[1:-1]]
        return re.sub(r"\{(\w+)\}", lambda m: str(words.get(m[1], m[0])), tree)
    return tree


def _prefix(tree: Any, prefix: str) -> None:
    """Put the case's id before every name that statistics or other resources refer to."""
    if isinstance(tree, list):
        for item in tree:
            _prefix(item, prefix)
    elif isinstance(tree, dict):
        kind = str(tree.get("@type", ""))
        filter_config = kind.rpartition(".")[2] in OWNERS_OF_STAT_PREFIXES or "header_to_metadata" in kind
        for key, value in tree.items():
            named = key in NAMES_OF_CLUSTERS or (key == "stat_prefix" and filter_config)
            if named and isinstance(value, str):
                tree[key] = f"{prefix}_{value}"
            elif key == "cluster_min_healthy_percentages":
                tree[key] = {f"{prefix}_{name}": percent for name, percent in value.items()}
            elif key == "clusters" and isinstance(value, list) and all(isinstance(name, str) for name in value):
                tree[key] = [f"{prefix}_{name}" for name in value]
            elif key == "weighted_clusters":
                for entry in value["clusters"]:
                    if "name" in entry:
                        entry["name"] = f"{prefix}_{entry['name']}"
                _prefix(value, prefix)
            else:
                _prefix(value, prefix)
