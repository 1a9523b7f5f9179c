"""The judge itself: it must be able to fail, and must not invent differences."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from minienvoy.version import version

from . import admin, fork_server, golden, judge, messages, runner, scenario, virtual_time
from .backends import Backend, message_bytes
from .client import Client, pause_class
from .dns import DnsServer
from .normalise import Normaliser

ANSWER = {
    "client": [["HTTP/1.1 200 OK", "content-length: 2", "date: <date>", "", "ok"], "kept open"],
    "log": ["GET / 200"],
}


def test_identical_answers_have_no_difference() -> None:
    assert golden.difference(ANSWER, {**ANSWER}) == []


@pytest.mark.parametrize(
    "changed",
    [
        {**ANSWER, "client": [["HTTP/1.1 200 OK", "date: <date>", "content-length: 2", "", "ok"], "kept open"]},
        {**ANSWER, "client": [["HTTP/1.1 200 OK", "Content-Length: 2", "date: <date>", "", "ok"], "kept open"]},
        {**ANSWER, "client": [["HTTP/1.1 200 OK", "content-length: 2", "date: <date>", "", "ok"], "closed at once"]},
        {**ANSWER, "log": ["GET / 200", "GET / 200"]},
        {"client": ANSWER["client"]},
    ],
    ids=["header order", "header case", "close instead of keep", "a log line too many", "no log"],
)
def test_a_different_answer_is_reported(changed: dict[str, object]) -> None:
    assert golden.difference(ANSWER, changed)


def test_every_case_has_a_golden_answer_and_every_golden_answer_a_case() -> None:
    for name in scenario.names():
        assert sorted(golden.load(name)) == sorted(case.name for case in scenario.load(name)), name
    assert sorted(path.stem for path in golden.GOLDEN.glob("*.json")) == scenario.names()


def test_no_golden_answer_is_a_proxy_that_did_not_start_or_a_client_that_failed() -> None:
    for name in scenario.names():
        text = (golden.GOLDEN / f"{name}.json").read_text("utf-8")
        assert "did not start" not in text, name
        assert "<the client failed" not in text, name
        assert "not said:" not in text, name


def test_a_known_difference_names_a_case_and_a_reason() -> None:
    cases = {f"{name}/{case.name}" for name in scenario.names() for case in scenario.load(name)}
    known = golden.known_differences()
    assert set(known) <= cases
    assert all(isinstance(reason, str) and reason for reason in known.values())


def normaliser() -> Normaliser:
    return Normaliser("c007", {4711: "backend"}, "/some/dir", "203.0.113.9")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("date: Mon, 23 Nov 2026 05:03:46 GMT", "date: <date>"),
        ("x-request-id: 01234567-89ab-4def-8123-456789abcdef", "x-request-id: <uuid>"),
        ("x-envoy-upstream-service-time: 17", "x-envoy-upstream-service-time: <ms>"),
        ("host=127.0.0.1:4711", "host=127.0.0.1:<backend>"),
        ("host=127.0.0.1:4712", "host=127.0.0.1:<a port>"),
        ("x-forwarded-for: 203.0.113.9", "x-forwarded-for: <machine>"),
        ("cluster.c007_backend.upstream_rq_total", "cluster.backend.upstream_rq_total"),
        ("/some/dir/x.sock", "<dir>/x.sock"),
    ],
)
def test_what_differs_from_run_to_run_is_replaced_by_its_name(raw: str, shown: str) -> None:
    assert normaliser().text(raw) == shown


@pytest.mark.parametrize(
    "kept",
    [
        "date: yesterday",
        "x-request-id: abc",
        "x-envoy-expected-rq-timeout-ms: 15000",
        "content-length: 4711",
        "a.test:4711",
    ],
)
def test_what_is_a_real_difference_is_not_normalised(kept: str) -> None:
    assert normaliser().text(kept) == kept


def test_a_stream_is_split_into_messages_and_a_rest() -> None:
    stream = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 404 Not Found\r\n\r\n"
    found, rest = messages.split(stream + b"tail", False, iter(["GET", "HEAD"]))
    assert [messages.readable(m) for m in found] == [
        ["HTTP/1.1 200 OK", "content-length: 2", "", "ok"],
        ["HTTP/1.1 404 Not Found"],
    ]
    assert rest == b"tail"


def test_chunks_are_joined_and_trailers_are_shown() -> None:
    stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\nt: 1\r\n\r\n"
    (message,), rest = messages.split(stream, False, iter(["GET"]))
    assert messages.readable(message)[2:] == ["", "abc", "<last chunk>", "t: 1"]
    assert rest == b""


def test_a_body_that_is_cut_off_is_said_to_be() -> None:
    (message,), _ = messages.split(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", True, iter(["GET"]))
    assert messages.readable(message)[-2:] == ["hello", "<cut off>"]


def test_a_reader_sees_the_same_messages_however_the_stream_arrives() -> None:
    stream = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 204 No Content\r\n\r\n"
    )
    reader, arrived = messages.Reader(["GET", "GET"]), bytearray()
    for byte in stream:
        arrived.append(byte)
        found = reader.complete(arrived, False)
    assert [message.status for message in found] == [100, 200, 204]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("GET / HTTP/1.1\nhost: a\n", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("POST / HTTP/1.1\nhost: a\n\nbody\n", b"POST / HTTP/1.1\r\nhost: a\r\n\r\nbody"),
        ("GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n"),
        ("hello", b"hello"),
        (["a", {"repeat": ["xy", 3]}, "\r\n"], b"axyxyxy\r\n"),
        ("\xff", b"\xff"),
    ],
)
def test_bytes_of_a_scenario(written: object, meant: bytes) -> None:
    assert message_bytes(written) == meant


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.1, "at once"), (0.2, "after 0.2 s"), (0.5, "after 0.5 s"), (0.99, "after 1.0 s"), (1.06, "after 1.0 s")],
)
def test_a_duration_is_a_class(seconds: float, said: str) -> None:
    assert pause_class(seconds) == said


def test_merging_replaces_lists_merges_mappings_and_removes_nulls() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert scenario.merge(base, {"a": {"c": [3]}, "d": None, "e": 2}) == {"a": {"b": 1, "c": [3]}, "e": 2}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_a_case_of_one_line_becomes_a_listener_a_cluster_and_a_log(tmp_path: Path) -> None:
    case = scenario.Case("s", "a case", {"get": "/"}, "c001")
    (listener,), (cluster,) = scenario.resources(case, {"backend": 4711}, tmp_path)
    assert listener["name"] == listener["stat_prefix"] == "c001_main"
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"] == {"cluster": "c001_backend"}
    assert manager["access_log"][0]["typed_config"]["path"] == str(tmp_path / "c001_log.txt")
    assert cluster["name"] == "c001_backend"
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    assert address["socket_address"]["port_value"] == 4711


def test_a_refusal_is_laid_at_the_door_of_the_case_whose_resource_it_names() -> None:
    two = scenario.Case("s", "two listeners", {"listeners": {"main": {}, "other": {}}}, "c000")
    one, silent = scenario.Case("s", "one", {}, "c001"), scenario.Case("s", "no cluster", {"backends": {}}, "c002")
    cases = [two, one, silent]
    assert runner._blamed(cases, "static_resources.listeners[1].name: no") == {"two listeners"}
    assert runner._blamed(cases, "static_resources.clusters[1] and static_resources.listeners[3]") == {
        "one",
        "no cluster",
    }
    assert runner._blamed(cases, "something else") == set()


def test_the_shape_of_json_is_its_keys_and_types() -> None:
    assert admin.shape({"a": [1, 2, {"b": "x"}], "c": None}) == {"a": ["int", {"b": "str"}], "c": "NoneType"}


def question(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def test_the_dns_server_answers_from_its_script() -> None:
    server = DnsServer({"svc.test": [{"A": ["127.0.0.1"], "ttl": 9}, {"rcode": 2}]})
    answers: list[bytes] = []
    for name, kind in (("svc.test", 1), ("svc.test", 1), ("other.test", 28)):
        server.ask(question(name, kind), answers.append)
    first, second, unknown = answers
    assert first[:2] == b"\0\7"
    assert first.endswith(struct.pack("!HHIH", 1, 1, 9, 4) + bytes([127, 0, 0, 1]))
    assert second[3] & 15 == 2
    assert unknown[3] & 15 == 3
    assert server.questions == ["A svc.test", "A svc.test", "AAAA other.test"]


def test_the_dns_server_knows_aliases_and_what_is_too_long_for_a_datagram() -> None:
    server = DnsServer({"svc.test": {"CNAME": ["a.test", 5], "truncated": True}, "a.test": {"A": ["127.0.0.1"]}})
    answers: list[bytes] = []
    server.ask(question("svc.test", 1), answers.append)
    server.ask(question("svc.test", 1), answers.append, tcp=True)
    short, whole = answers
    assert (short[2] & 2, short[6:8]) == (2, b"\0\0")
    assert (whole[2] & 2, whole[6:8]) == (0, b"\0\2")
    alias = b"\x01a\x04test\0"
    records = struct.pack("!HHIH", 5, 1, 5, 8) + alias + alias + struct.pack("!HHIH", 1, 1, 60, 4) + b"\x7f\0\0\1"
    assert whole.endswith(b"\xc0\x0c" + records)
    assert server.questions == ["A svc.test", "A svc.test over TCP"]


def talk(backend_spec: dict[str, Any], steps: list[dict[str, Any]], watch: float = 0.1) -> list[Any]:
    """A client straight at a scripted backend: the two ends of the judge, without a proxy in between."""

    async def run() -> list[Any]:
        backend = Backend("backend", backend_spec)
        await backend.start()
        try:
            client = Client({"main": ("127.0.0.1", backend.port)}, watch=watch)
            return (await client.run(steps))["client"]
        finally:
            await backend.stop()

    return virtual_time.run(run())


def test_client_and_backend_speak_http() -> None:
    assert talk({}, [{"get": "/"}]) == [["HTTP/1.1 200 OK", "content-length: 2", "", "ok"], "kept open"]


def test_the_end_of_a_connection_is_seen_as_it_was() -> None:
    assert talk({"script": [{"close": True}]}, [{"connect": True}, {"expect": "eof"}]) == ["closed at once"]
    assert talk({"script": [{"read": 1}, {"reset": True}]}, [{"send": "x"}, {"expect": "eof"}]) == ["reset at once"]


def test_a_late_answer_is_said_to_be_late() -> None:
    late = {"answers": [[{"sleep": 0.5}, {"send": "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"}]]}
    assert talk(late, [{"get": "/"}])[0] == "<after 0.5 s>"


def test_a_step_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="'shout' is not a step"):
        talk({}, [{"shout": True}])


@pytest.mark.parametrize(
    ("bound", "envoy", "here", "same"),
    [
        ({}, {"a": 300, "b": 100}, {"a": 285, "b": 115}, True),
        ({}, {"a": 300, "b": 100}, {"a": 200, "b": 200}, False),
        ({}, {"a": 300, "b": 100}, {"a": 300, "b": 99}, False),
        ({"shares": {"a": 0.75, "b": 0.25}}, {"a": 399, "b": 1}, {"a": 290, "b": 110}, True),
        ({"shares": {"a": 0.75, "b": 0.25}}, {"a": 300, "b": 100}, {"a": 220, "b": 180}, False),
        ({"shares": {"a": 1}}, {"a": 400, "b": 0}, {"a": 399, "b": 1}, False),
        ({"tolerance": 0.02}, {"a": 300, "b": 100}, {"a": 306, "b": 94}, True),
        ({"tolerance": 0.02}, {"a": 300, "b": 100}, {"a": 310, "b": 90}, False),
        ({"tolerance": 0}, {"a": 300, "b": 100}, {"a": 301, "b": 99}, False),
    ],
    ids=lambda value: str(value),
)
def test_counts_are_compared_as_distributions(
    bound: dict[str, Any], envoy: dict[str, int], here: dict[str, int], same: bool
) -> None:
    old, new = ({"client": ["400 times 200"], "spread": {**bound, "counts": counts}} for counts in (envoy, here))
    assert (golden.difference(old, new) == []) is same
    assert golden.difference(old, {**new, "client": ["400 times 503"]})


def test_time_passes_only_when_nothing_else_can_happen() -> None:
    async def nap() -> tuple[float, list[str]]:
        loop = asyncio.get_running_loop()
        began, order = loop.time(), []

        async def one(seconds: float) -> None:
            await asyncio.sleep(seconds)
            order.append(f"{seconds:g}")

        await asyncio.gather(one(7200), one(3600), asyncio.to_thread(time.sleep, 0.05))
        return loop.time() - began, order

    real = time.monotonic()
    assert virtual_time.run(nap()) == (pytest.approx(7200), ["3600", "7200"])
    assert time.monotonic() - real < 60


def test_a_peer_is_given_the_time_to_answer_before_time_passes() -> None:
    """A thousand times the kernel is in the middle of something when both ends wait."""
    answers = [[{"send": "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"}]]
    shown = talk({"answers": answers}, [{"get": "/"}] * 1000, watch=5)
    assert len(shown) == 1001
    assert shown[-1] == "kept open"


def test_bytes_that_have_not_arrived_are_seen_to_be_in_flight() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        other = server.accept()[0]
        with other:
            both = [one.fileno(), other.fileno()]
            assert not virtual_time.something_in_flight(both)
            one.send(b"x" * 100)
            one.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + 5
            while virtual_time.something_in_flight(both) and time.monotonic() < deadline:
                time.sleep(0.001)
            assert not virtual_time.something_in_flight(both), "the loopback interface delivers at once"
            # Small buffers that nobody reads: what has been sent is never more than what has arrived.
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    other.send(b"y" * 65536)
            assert not virtual_time.something_in_flight(both)


def test_an_hour_in_which_nothing_comes_is_not_waited_for() -> None:
    assert talk({"script": [{"sleep": 3600}]}, [{"connect": True}], watch=3000) == ["kept open"]


def test_a_forked_process_has_its_own_output_exit_code_and_signals(tmp_path: Path) -> None:
    output = tmp_path / "out.txt"

    async def ends(arguments: list[str], number: int = 0) -> tuple[int, str]:
        process = await fork_server.start(arguments, output)
        if number:
            while "starting main dispatch loop" not in output.read_text():  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.01)
            os.kill(process.pid, number)
        return await asyncio.wait_for(process.wait(), 10), output.read_text()

    serve = ["--config-yaml", "{}"]
    assert asyncio.run(ends(["--version"])) == (0, f"\nminienvoy  version: {version()}\n\n")
    assert asyncio.run(ends(["--mode", "shout"]))[0] == 1
    assert asyncio.run(ends(serve, signal.SIGTERM))[0] == 0
    assert asyncio.run(ends(serve, signal.SIGKILL))[0] == -signal.SIGKILL


def test_what_waits_for_ever_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "STUCK", 0.05)
    with pytest.raises(RuntimeError, match="will never happen"):
        virtual_time.run(asyncio.Event().wait())


@pytest.mark.parametrize(
    ("spec", "way"),
    [
        ({"get": "/"}, "both"),
        ({"steps": [{"get": "/"}, {"sleep": 1}]}, "virtual time"),
        ({"get": "/", "cluster": {"connect_timeout": "0.25s"}}, "virtual time"),
        ({"get": "/", "hcm": {"request_timeout": "300s"}}, "both"),
        ({"get": "/", "spread": {"requests": 2}}, "virtual time"),
        ({"get": "/", "args": ["--service-node", "x"]}, "both"),
        ({"steps": [{"get": "/"}, {"sleep": 1}], "args": ["--drain-time-s", "2"]}, "virtual time"),
        ({"base": "admin: {}"}, "process"),
    ],
)
def test_each_case_goes_the_ways_that_can_be_exact(spec: dict[str, Any], way: str) -> None:
    case = scenario.Case("s", "a case", spec)
    taken = (bool(judge.in_virtual_time([case])), bool(judge.as_a_process([case], {"a case": ANSWER})))
    assert taken == {"both": (True, True), "virtual time": (True, False), "process": (False, True)}[way]


def test_a_connection_that_is_about_to_close_is_judged_in_virtual_time() -> None:
    case = scenario.Case("s", "a case", {"get": "/"})
    for head, ways in ((["HTTP/1.1 400 Bad Request", "connection: close"], []), (["HTTP/1.1 200 OK"], [case])):
        assert judge.as_a_process([case], {"a case": {"client": {"c0": [head, "kept open"]}}}) == ways


def test_of_many_cases_some_from_all_over_the_file_are_judged_in_both_ways() -> None:
    cases = [scenario.Case("s", f"case {at}", {"get": "/"}) for at in range(100)]
    chosen = judge.as_a_process(cases, {})
    assert len(chosen) == judge.MOST_TWICE
    assert chosen[0] is cases[0]
    assert chosen[-1] in cases[90:]
    assert judge.as_a_process(cases, {}, 100) == cases


def test_a_case_in_which_envoy_takes_its_time_is_judged_in_virtual_time() -> None:
    case = scenario.Case("s", "a case", {"get": "/"})
    late = {"client": ["<after 1.0 s>", ["HTTP/1.1 200 OK"], "kept open"]}
    assert judge.as_a_process([case], {"a case": late}) == []
    assert golden.timeless(late) == {"client": [["HTTP/1.1 200 OK"], "kept open"]}
    assert golden.timeless(["closed at once", "closed after 1.0 s", "reset after 2.5 s"]) == [
        "closed",
        "closed",
        "reset",
    ]
    assert golden.timeless(["alert SOME_WORDS after 0.4 s", "no handshake: OTHER_WORDS at once"]) == [
        "alert SOME_WORDS",
        "no handshake: OTHER_WORDS",
    ]
