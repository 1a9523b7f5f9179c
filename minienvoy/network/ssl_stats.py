"""What TLS counts: `listener.ADDRESS.ssl.*`, `cluster.NAME.ssl.*`.

Envoy: `source/common/tls/stats.h` (`ALL_SSL_STATS`), `ContextImpl::logHandshake`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..stats.store import CounterValue, StatsStruct

if TYPE_CHECKING:
    from ..stats.store import Counter, Scope
    from .ssl_connection_info import SslConnectionInfo


class SslCounters(StatsStruct):
    connection_error: CounterValue
    fail_verify_cert_hash: CounterValue
    fail_verify_error: CounterValue
    fail_verify_no_cert: CounterValue
    fail_verify_san: CounterValue
    handshake: CounterValue
    no_certificate: CounterValue
    ocsp_staple_failed: CounterValue
    ocsp_staple_omitted: CounterValue
    ocsp_staple_requests: CounterValue
    ocsp_staple_responses: CounterValue
    session_reused: CounterValue
    was_key_usage_invalid: CounterValue


class SslStats:
    """The counters, and those whose names come from handshakes.

    Attributes:
        counters: the ones that are always there.
    """

    __slots__ = ("_named", "_scope", "counters")

    def __init__(self, scope: Scope) -> None:
        self.counters = scope.struct(SslCounters)
        self._scope = scope
        self._named: dict[str, Counter] = {}

    def count_handshake(self, info: SslConnectionInfo, signature: str, server_side: bool) -> None:
        """A handshake is over; `signature` is the algorithm that the peer signed with, if it did."""
        counters = self.counters
        counters.handshake += 1
        if info.session_reused:
            counters.session_reused += 1
        self._count(f"ciphers.{info.ciphersuite}")
        self._count(f"versions.{info.tls_version}")
        if info.group:
            self._count(f"curves.{info.group}")
        if signature:
            self._count(f"sigalgs.{signature}")
        if server_side and not info.peer_chain:
            counters.no_certificate += 1

    def _count(self, name: str) -> None:
        counter = self._named.get(name)
        if counter is None:
            counter = self._named[name] = self._scope.counter(name)
        counter.inc()
