from __future__ import annotations

import json

import pytest

from minienvoy.config.loader import load_message
from minienvoy.server.admin.proto_json import ProtoPrinter

CLUSTER = "envoy.config.cluster.v3.Cluster"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def message(text, name):
    return load_message(text, name).message


def printed(text, name=CLUSTER, **options):
    return ProtoPrinter(**options).message(message(text, name))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("0.25s", "0.250s"),
        ("1.5s", "1.500s"),
        ("5s", "5s"),
        ("0.0000015s", "0.000001500s"),
        ("1.000000001s", "1.000000001s"),
        ("0.000250s", "0.000250s"),
        ("-1.5s", "-1.500s"),
    ],
)
def test_durations_have_no_three_six_or_nine_digits(given, shown):
    assert printed(f"connect_timeout: {given}") == {"connect_timeout": shown}


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [(0, "2023-11-14T22:13:20Z"), (257_000_000, "2023-11-14T22:13:20.257Z"), (1, "2023-11-14T22:13:20.000000001Z")],
)
def test_timestamps(nanos, shown):
    stamp = message("{}", "envoy.admin.v3.BootstrapConfigDump")
    stamp.last_updated.seconds, stamp.last_updated.nanos = 1_700_000_000, nanos
    assert ProtoPrinter().message(stamp) == {"last_updated": shown}


def test_fields_stand_in_the_order_of_their_numbers_and_defaults_are_left_out():
    text = "{lb_policy: RANDOM, name: a, type: STATIC, connect_timeout: 1s, alt_stat_name: ''}"
    assert list(printed(text).items()) == [
        ("name", "a"),
        ("type", "STATIC"),  # in a oneof: it is set
        ("connect_timeout", "1s"),
        ("lb_policy", "RANDOM"),
    ]


def test_large_integers_are_strings_wrappers_are_values():
    assert printed("per_connection_buffer_limit_bytes: 5") == {"per_connection_buffer_limit_bytes": 5}
    cache = "typed_dns_resolver_config: {name: a}, dns_refresh_rate: 1s"
    assert printed(f"{{{cache}}}") == {"dns_refresh_rate": "1s", "typed_dns_resolver_config": {"name": "a"}}
    metric = message("{value: 5, name: a}", "envoy.admin.v3.SimpleMetric")
    assert ProtoPrinter().message(metric) == {"value": "5", "name": "a"}


def test_an_any_is_shown_as_what_it_holds():
    kinds = """
    transport_socket:
      name: a
      typed_config: {"@type": type.googleapis.com/google.protobuf.Duration, value: 1.5s}
    """
    assert printed(kinds)["transport_socket"]["typed_config"] == {
        "@type": "type.googleapis.com/google.protobuf.Duration",
        "value": "1.500s",
    }


def test_an_any_of_an_unknown_type_does_not_break_the_dump():
    cluster = message("{name: a}", CLUSTER)
    cluster.transport_socket.typed_config.type_url = "type.googleapis.com/no.such.Type"
    cluster.transport_socket.typed_config.value = b"x"
    shown = ProtoPrinter(redact=True).message(cluster)["transport_socket"]["typed_config"]
    assert shown == {"@type": "type.googleapis.com/no.such.Type"}


def test_field_masks_are_in_camel_case():
    text = "{node: {id: me}, resource_names: [a]}"
    assert printed(text, "envoy.service.discovery.v3.DiscoveryRequest") == {
        "node": {"id": "me"},
        "resource_names": ["a"],
    }
    mask = message("{paths: [a.b_c, d_e]}", "google.protobuf.FieldMask")
    assert ProtoPrinter().message(mask) == "a.bC,dE"


def test_structs_are_plain_values():
    text = "metadata: {filter_metadata: {m: {b: 1, a: [x, {c: null}], d: true, e: 1.5}}}"
    assert printed(text)["metadata"]["filter_metadata"] == {
        "m": {"a": ["x", {"c": None}], "b": 1.0, "d": True, "e": "1.5"}
    }


def test_all_fields_can_be_shown_set_or_not():
    shown = printed("{id: me}", "envoy.config.core.v3.Node", always_print_fields=True)
    assert shown == {
        "id": "me",
        "cluster": "",
        "user_agent_name": "",
        "extensions": [],
        "client_features": [],
        "listening_addresses": [],
        "dynamic_parameters": {},
    }


SENSITIVE = """
name: s
tls_certificate:
  certificate_chain: {inline_string: public}
  private_key: {inline_string: hush}
  password: {inline_bytes: aHVzaA==}
"""


def test_what_is_sensitive_is_redacted():
    assert printed(SENSITIVE, SECRET, redact=True) == {
        "name": "s",
        "tls_certificate": {
            "certificate_chain": {"inline_string": "public"},
            "private_key": {"inline_string": "[redacted]"},
            "password": {"inline_bytes": "W3JlZGFjdGVkXQ=="},
        },
    }


def test_nothing_is_redacted_unless_asked_for():
    assert "hush" in json.dumps(printed(SENSITIVE, SECRET))


def test_redaction_reaches_into_anys():
    text = f"""
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/{TLS}
        common_tls_context: {{tls_certificates: [{{private_key: {{filename: /hush}}}}]}}
    """
    shown = printed(text, redact=True)["transport_socket"]["typed_config"]
    assert shown["common_tls_context"] == {"tls_certificates": [{"private_key": {"filename": "[redacted]"}}]}


@pytest.mark.parametrize("kind", ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"])
@pytest.mark.parametrize("key", ["private_key", "privateKey"])
def test_redaction_reaches_into_typed_structs(kind, key):
    text = f"""
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/{kind}
        type_url: type.googleapis.com/{TLS}
        value:
          require_client_certificate: true
          common_tls_context: {{tls_certificates: [{{{key}: {{inline_string: hush}}}}]}}
    """
    shown = printed(text, redact=True)["transport_socket"]["typed_config"]
    assert shown["value"] == {
        "require_client_certificate": True,
        "common_tls_context": {"tls_certificates": [{key: {"inline_string": "[redacted]"}}]},
    }


def test_a_typed_struct_of_an_unknown_type_is_shown():
    text = """
    transport_socket:
      name: own
      typed_config:
        "@type": type.googleapis.com/xds.type.v3.TypedStruct
        type_url: type.googleapis.com/my.own.Type
        value: {a: b}
    """
    assert printed(text, redact=True)["transport_socket"]["typed_config"]["value"] == {"a": "b"}
