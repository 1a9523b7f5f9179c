"""Sockets that a listener filter does not look at."""

from __future__ import annotations

import socket

import pytest

from minienvoy.config.loader import load_message
from minienvoy.network.address import Address
from minienvoy.network.filter import FilterStatus, ListenerFilter
from minienvoy.network.socket import ConnectionSocket
from minienvoy.server.listener_filter_predicate import compile_predicate, unless
from minienvoy.stream_info import ConnectionInfo

PREDICATE = "envoy.config.listener.v3.ListenerFilterChainMatchPredicate"


def accepted(port: int) -> ConnectionSocket:
    with socket.socket() as raw:
        return ConnectionSocket(raw, ConnectionInfo(Address("127.0.0.1", port), Address("127.0.0.1", 1)))


@pytest.mark.parametrize(
    ("text", "port", "matches"),
    [
        ("{any_match: true}", 80, True),
        ("{not_match: {any_match: true}}", 80, False),
        ("{destination_port_range: {start: 80, end: 90}}", 80, True),
        ("{destination_port_range: {start: 80, end: 90}}", 90, False),
        ("{or_match: {rules: [{not_match: {any_match: true}}, {any_match: true}]}}", 80, True),
        ("{and_match: {rules: [{not_match: {any_match: true}}, {any_match: true}]}}", 80, False),
    ],
)
def test_a_socket_matches_by_its_port_or_by_what_rules_say_together(text, port, matches):
    predicate = compile_predicate(load_message(text, PREDICATE, syntax="yaml").message)
    assert predicate(accepted(port)) is matches


class Looking(ListenerFilter):
    max_read_bytes = 7

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        return FilterStatus.STOP_ITERATION


@pytest.mark.parametrize(("disabled", "status"), [(True, FilterStatus.CONTINUE), (False, FilterStatus.STOP_ITERATION)])
def test_a_filter_does_not_see_the_sockets_that_it_is_not_for(disabled, status):
    made = unless(lambda socket: disabled, Looking)()
    assert made.max_read_bytes == 7
    assert made.on_accept(accepted(80)) is status
    assert made.on_data(accepted(80), b"") is FilterStatus.CONTINUE


def test_what_a_filter_may_do_is_given_to_the_one_inside():
    inner = Looking()
    made = unless(lambda socket: False, lambda: inner)()
    callbacks = object()
    made.callbacks = callbacks  # type: ignore[assignment]
    assert inner.callbacks is callbacks
    assert made.callbacks is callbacks
