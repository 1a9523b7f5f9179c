"""What a module declares to honour is read somewhere: in that module, or in those that compile for it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import minienvoy

PACKAGE = Path(minienvoy.__file__).parent

_AUTHZ = "extensions/filters/common/ext_authz"
READ_FOR = {
    "extensions/filters/http/ext_authz/filter_config.py": (f"{_AUTHZ}/check_request.py", f"{_AUTHZ}/grpc_client.py"),
    "extensions/filters/http/ratelimit.py": ("extensions/filters/common/ratelimit.py",),
    "extensions/filters/network/ratelimit.py": ("extensions/filters/common/ratelimit.py",),
    "extensions/filters/network/ext_authz.py": (f"{_AUTHZ}/check_request.py", f"{_AUTHZ}/grpc_client.py"),
    "extensions/filters/common/ext_authz/http_client.py": ("extensions/filters/http/ext_authz/filter_config.py",),
    "config/fields.py": ("config/extension.py",),
    "extensions/clusters/dns.py": ("network/dns.py",),
    "extensions/filters/http/router.py": ("router/upstream_log.py",),
    "router/upstream_log.py": ("extensions/filters/http/router.py",),
    "extensions/filters/listener/local_ratelimit.py": ("extensions/filters/network/local_ratelimit.py",),
    "extensions/filters/network/http_connection_manager_fields.py": (
        "extensions/filters/network/http_connection_manager.py",
        "extensions/filters/network/http_connection_manager_codec.py",
        "extensions/filters/network/local_reply_config.py",
        "http/forwarded_client_cert.py",
    ),
    "extensions/filters/http/jwt_authn/provider.py": ("extensions/filters/http/jwt_authn/extractor.py",),
    "extensions/transport_sockets/tls/cert_validator.py": ("discovery/secret_manager.py",),
    "extensions/transport_sockets/tls/certificate.py": ("discovery/secret_manager.py", "discovery/file_secret.py"),
    "discovery/api_config_source.py": ("discovery/subscription_factory.py",),
    "discovery/secret_manager.py": ("discovery/file_secret.py",),
    "discovery/subscription.py": ("discovery/subscription_factory.py",),
    "extensions/transport_sockets/tls/downstream.py": ("extensions/transport_sockets/tls/context_config.py",),
    "extensions/transport_sockets/tls/upstream.py": ("extensions/transport_sockets/tls/context_config.py",),
    "extensions/transport_sockets/tls/context_config.py": (
        "extensions/transport_sockets/tls/certificate.py",
        "discovery/secret_manager.py",
        "extensions/transport_sockets/tls/downstream.py",
        "extensions/transport_sockets/tls/upstream.py",
    ),
    "extensions/matching/custom_matchers.py": ("network/cidr.py",),
    "matchers/match_tree.py": ("config/extension.py",),
    "server/stat_sinks.py": ("config/extension.py",),
    "network/dns.py": ("extensions/network/dns_resolver/cares.py",),
    "network/transport_socket.py": ("server/listener.py",),
    "server/filter_chain_factory.py": ("config/extension.py",),
    "tracing/connection_manager_tracing.py": (
        "extensions/filters/network/http_connection_manager.py",
        "config/extension.py",
    ),
    "router/config.py": (
        "extensions/filters/network/http_connection_manager.py",
        "router/cors_policy.py",
        "router/retry_policy.py",
    ),
    "router/retry_policy.py": ("config/extension.py", "router/reset_header.py"),
    "router/route_entry.py": (
        "router/internal_redirect.py",
        "router/cors_policy.py",
        "router/retry_policy.py",
        "router/grpc_timeout.py",
        "router/host_rewriter.py",
        "router/internal_redirect.py",
        "router/path_rewriter.py",
        "router/retry_policy.py",
    ),
    "router/route_matcher.py": ("config/runtime.py",),
    "server/listener.py": (
        "config/extension.py",
        "network/cidr.py",
        "network/filter_chain.py",
        "network/udp_listener.py",
        "server/listen_addresses.py",
        "server/listener_manager.py",
        "server/udp_listener_config.py",
    ),
    "server/listen_addresses.py": ("network/resolver.py", "network/socket_option.py"),
    "extensions/filters/udp/udp_proxy/config.py": ("extensions/filters/udp/udp_proxy/router.py",),
    "server/bootstrap_fields.py": (
        "server/server.py",
        "server/xds_manager.py",
        "config/runtime.py",
        "network/dns.py",
        "server/stats_settings.py",
    ),
    "upstream/cluster_info.py": (
        "upstream/cluster.py",
        "extensions/clusters/dns.py",
        "extensions/clusters/original_dst.py",
        "network/dns.py",
        "network/resolver.py",
        "upstream/legacy_lb_policy.py",
        "upstream/local_address_selector.py",
        "upstream/load_balancer_policy.py",
        "upstream/override_host.py",
        "upstream/cluster_health.py",
        "upstream/local_address_selector.py",
    ),
    # What the older fields say is put into the extension's message, which has fields of the same names.
    "upstream/local_address_selector.py": ("network/socket_option.py",),
    "upstream/legacy_lb_policy.py": (
        "extensions/load_balancing_policies/least_request.py",
        "extensions/load_balancing_policies/ring_hash.py",
        "extensions/load_balancing_policies/round_robin.py",
        "extensions/load_balancing_policies/subset_config.py",
        "upstream/locality_lb_config.py",
        "upstream/slow_start.py",
        "upstream/thread_aware_load_balancer.py",
    ),
    "extensions/common/dns_cache.py": ("network/dns.py",),
    "extensions/http/stateful_session/cookie.py": ("router/hash_policy.py",),
    "upstream/endpoint_stats.py": ("upstream/cluster.py",),
    "upstream/thread_aware_load_balancer.py": ("extensions/load_balancing_policies/own_hash_policy.py",),
    "extensions/load_balancing_policies/maglev.py": (
        "extensions/load_balancing_policies/own_hash_policy.py",
        "upstream/thread_aware_load_balancer.py",
    ),
    "extensions/load_balancing_policies/ring_hash.py": (
        "extensions/load_balancing_policies/own_hash_policy.py",
        "upstream/thread_aware_load_balancer.py",
    ),
    "extensions/load_balancing_policies/client_side_weighted_round_robin.py": (
        "extensions/load_balancing_policies/orca_oob.py",
    ),
    "extensions/load_balancing_policies/subset_config.py": ("extensions/load_balancing_policies/subset.py",),
    "upstream/cluster_health.py": (
        "extensions/health_checkers/grpc.py",
        "extensions/health_checkers/http.py",
        "extensions/health_checkers/tcp.py",
        "upstream/health_check_config.py",
        "upstream/health_check_event_logger.py",
        "upstream/health_checker.py",
        "upstream/outlier_config.py",
        "upstream/payload_matcher.py",
    ),
}
"""Declaring module -> further modules that read the fields."""

NOT_READ = {
    ("router/header_parser.py", "raw_value"): "Envoy ignores it too",
    ("extensions/clusters/dynamic_forward_proxy.py", "allow_coalesced_connections"): "only as it is by default",
    ("tracing/custom_tag.py", "value_type"): "only as it is by default",
    ("extensions/transport_sockets/internal_upstream.py", "request"): "by the name that WhichOneof gives",
    ("extensions/transport_sockets/internal_upstream.py", "route"): "by the name that WhichOneof gives",
    ("matchers/header.py", "exact_match"): "by the name that WhichOneof gives",
    ("matchers/header.py", "prefix_match"): "by the name that WhichOneof gives",
    ("matchers/header.py", "suffix_match"): "by the name that WhichOneof gives",
    ("matchers/header.py", "contains_match"): "by the name that WhichOneof gives",
    ("matchers/match_tree.py", "prefix_match_map"): "by the name that WhichOneof gives",
    ("extensions/filters/common/set_filter_state.py", "read_only"): "writing it twice is a bug of the configuration",
    ("extensions/filters/common/set_filter_state.py", "shared_with_upstream"): "only as it is by default",
    (
        "extensions/filters/http/jwt_authn/remote_keys.py",
        "fast_listener",
    ): "listeners never wait for keys here: docs/differences.md",
    ("matchers/match_tree.py", "and_matcher"): "by the name that WhichOneof gives",
    ("matchers/string.py", "patterns"): "server/stats_settings.py compiles it; it is declared there too",
    ("extensions/filters/network/ext_authz.py", "send_tls_alert_on_denial"): "only as it is by default",
    ("extensions/filters/http/aws_request_signing.py", "signing_algorithm"): "only as it is by default",
    ("extensions/http/injected_credentials/oauth2.py", "auth_type"): "Envoy ignores it too",
    ("server/listener.py", "enable_mptcp"): "only as it is by default",
    ("server/listen_addresses.py", "description"): "for people",
    ("server/listener.py", "use_proxy_proto"): "only as it is by default",
    ("extensions/filters/udp/udp_proxy/config.py", "source_ip"): "by the name that WhichOneof gives",
    ("extensions/filters/udp/udp_proxy/config.py", "use_original_src_ip"): "only as it is by default",
    ("server/stats_settings.py", "inclusion_list"): "by the name that WhichOneof gives",
    ("upstream/cluster_info.py", "protocol"): "TCP is all there is",
    (
        "extensions/upstreams/http/http_protocol_options.py",
        "alternate_protocols_cache_options",
    ): "refused: it is for HTTP/3",
    ("extensions/upstreams/http/http_protocol_options.py", "http3_protocol_options"): "refused",
    ("extensions/stat_sinks/metrics_service.py", "transport_api_version"): "V3 is all there is",
    ("upstream/load_assignment.py", "cluster_name"): "only a subscription would ask for it",
}
"""Declared fields that no code names, and why that is right."""


class Declaring(NamedTuple):
    fields: list[str]
    names: set[str]
    """Attributes and strings of the module, declarations left out."""


@cache
def analyse(name: str) -> Declaring:
    """The module of this name below the package; only those that a test asks for, for it takes long."""
    tree = ast.parse((PACKAGE / name).read_text())
    fields: list[str] = []
    declarations: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "honours":
            declarations.update(id(inner) for inner in ast.walk(node))
            fields += [each.value for each in node.args[1:] if isinstance(each, ast.Constant)]
            for keyword in node.keywords:
                if keyword.arg == "whole" and isinstance(keyword.value, ast.Tuple):
                    fields += [each.value for each in keyword.value.elts if isinstance(each, ast.Constant)]
                elif keyword.arg in ("values", "when") and isinstance(keyword.value, ast.Dict):
                    fields += [each.value for each in keyword.value.keys if isinstance(each, ast.Constant)]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in declarations:
            names.add(node.value)
    return Declaring(fields, names)


DECLARING = [
    str(path.relative_to(PACKAGE))
    for path in sorted(PACKAGE.rglob("*.py"))
    if re.search(r"\bhonours\(", path.read_text())
]


@pytest.mark.parametrize("name", DECLARING)
def test_declared_fields_are_read(name: str) -> None:
    read = set().union(*(analyse(each).names for each in (name, *READ_FOR.get(name, ()))))
    unread = {field for field in analyse(name).fields if field not in read}
    assert unread == {field for module, field in NOT_READ if module == name}


def test_exceptions_name_modules_that_declare() -> None:
    assert [name for name in {*READ_FOR, *(module for module, _ in NOT_READ)} if not analyse(name).fields] == []
