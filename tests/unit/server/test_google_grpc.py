"""Where a channel of `google_grpc` leads, and the cluster that it is."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.api import message_class, unpack
from minienvoy.errors import ConfigError
from minienvoy.server.google_grpc import LateStream, Target, _cluster_proto


@pytest.mark.parametrize(
    ("uri", "addresses", "authority", "numeric"),
    [
        ("a.test:80", [("a.test", 80)], "a.test:80", False),
        ("a.test", [("a.test", 443)], "a.test", False),
        ("dns:a.test:80", [("a.test", 80)], "a.test:80", False),
        ("dns:///a.test:80", [("a.test", 80)], "a.test:80", False),
        ("dns://8.8.8.8/a.test:80", [("a.test", 80)], "a.test:80", False),
        ("127.0.0.1:80", [("127.0.0.1", 80)], "127.0.0.1:80", True),
        ("ipv4:127.0.0.1:80,127.0.0.2:81", [("127.0.0.1", 80), ("127.0.0.2", 81)], "127.0.0.1:80", True),
        ("ipv6:[::1]:80", [("::1", 80)], "[::1]:80", True),
        ("[::1]:80", [("::1", 80)], "[::1]:80", True),
    ],
)
def test_target_is_hosts_and_ports(uri: str, addresses: list[tuple[str, int]], authority: str, numeric: bool) -> None:
    target = Target(uri, "target_uri")
    assert (target.addresses, target.authority, target.numeric) == (addresses, authority, numeric)


def test_target_may_be_a_socket_of_unix() -> None:
    assert Target("unix:/tmp/a", "t").paths == ["/tmp/a"]
    assert Target("unix:///tmp/a", "t").paths == ["/tmp/a"]
    assert Target("unix-abstract:a", "t").paths == ["@a"]
    assert Target("unix:/tmp/a", "t").authority == "localhost"


@pytest.mark.parametrize(("uri", "problem"), [("xds:///a", "scheme xds"), ("a:b", "no host"), ("a:99999", "no host")])
def test_other_targets_are_refused(uri: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Target(uri, "target_uri")


def test_tls_wants_a_certificate_for_the_name_that_is_asked() -> None:
    config = message_class("envoy.config.core.v3.GrpcService.GoogleGrpc")(target_uri="a.test:1")
    config.channel_credentials.ssl_credentials.SetInParent()
    cluster = _cluster_proto(config, Target("a.test:1", ""), "a.test:1")
    context = unpack(cluster.transport_socket.typed_config)
    validation = context.common_tls_context.validation_context
    assert (context.sni, list(context.common_tls_context.alpn_protocols)) == ("a.test", ["h2"])
    assert validation.match_typed_subject_alt_names[0].matcher.exact == "a.test"
    assert validation.HasField("system_root_certs")


class _Sent:
    done = False
    above_watermark: Any = None

    def __init__(self) -> None:
        self.said: list[Any] = []

    def send_data(self, data: bytes, end_stream: bool) -> None:
        self.said.append((data, end_stream))

    def reset(self) -> None:
        self.said.append("reset")


def test_what_is_sent_before_a_stream_has_begun_is_kept() -> None:
    sent = _Sent()
    stream = LateStream(lambda: sent)  # type: ignore[arg-type, return-value]
    stream.send_data(b"a", False)
    assert sent.said == []
    stream.begin()
    stream.send_data(b"b", True)
    assert sent.said == [(b"a", False), (b"b", True)]


def test_a_stream_that_is_given_up_does_not_begin() -> None:
    sent = _Sent()
    stream = LateStream(lambda: sent)  # type: ignore[arg-type, return-value]
    stream.send_data(b"a", False)
    stream.reset()
    stream.begin()
    assert (sent.said, stream.done) == ([], True)
