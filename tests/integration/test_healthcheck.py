from __future__ import annotations

import asyncio

import pytest

from minienvoy.server.healthcheck import main
from minienvoy.testing.fake_upstream import FakeUpstream, Reply

pytestmark = pytest.mark.asyncio


async def check(*arguments: str) -> int:
    return await asyncio.to_thread(main, arguments)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"LIVE\n"),
        Reply(b"5\r\nLIVE\n\r\n0\r\n\r\n", headers=(("transfer-encoding", "chunked"),)),
        Reply(raw=b"HTTP/1.1 200 OK\r\n\r\nLIVE\n", close=True),
    ],
)
async def test_a_server_that_is_ready_is_exit_code_0(reply, capfd):
    async with FakeUpstream(reply) as admin:
        assert await check("--admin-address", admin.address) == 0
        assert admin.requests[0].path == "/ready"
    assert capfd.readouterr() == ("LIVE\n", "")


async def test_a_server_that_drains_is_exit_code_1(capfd):
    async with FakeUpstream(Reply(b"DRAINING\n", 503)) as admin:
        assert await check("--admin-address", admin.address) == 1
    assert capfd.readouterr() == ("DRAINING\n", "")


async def test_the_address_can_be_in_a_file(tmp_path):
    async with FakeUpstream("LIVE\n") as admin:
        (tmp_path / "admin").write_text(admin.address)
        assert await check("--admin-address-path", str(tmp_path / "admin")) == 0


async def test_nobody_there_is_exit_code_1(capfd):
    async with FakeUpstream() as admin:
        pass
    assert await check("--admin-address", admin.address) == 1
    assert capfd.readouterr().err.startswith("not ready: ")


async def test_no_answer_at_all_is_exit_code_1(capfd):
    async with FakeUpstream(Reply(raw=b"", close=True)) as admin:
        assert await check("--admin-address", admin.address) == 1
    assert capfd.readouterr().err == "not ready: the connection was closed without an answer\n"


async def test_an_answer_that_does_not_come_is_not_waited_for(capfd):
    async with FakeUpstream(Reply(hang=True)) as admin:
        assert await check("--admin-address", admin.address, "--timeout-s", "0.05") == 1
    assert capfd.readouterr().err == "not ready: timed out\n"


async def test_an_answer_without_end_is_not_read_to_the_end():
    async with FakeUpstream(Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000)) as admin:
        assert await check("--admin-address", admin.address) == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--nope", "1"], "--nope: no such flag"),
        (["--admin-address"], "--admin-address: a value is missing"),
        (["--admin-address", "localhost"], "'localhost' is not host:port"),
        (["--admin-address", "localhost:http"], "'localhost:http' is not host:port"),
        (["--timeout-s", "soon"], "--timeout-s: 'soon' is not a number of seconds"),
        (["--timeout-s", "nan"], "--timeout-s: 'nan' is not a number of seconds"),
    ],
)
async def test_arguments_that_make_no_sense_are_told(arguments, problem, capfd):
    assert await check(*arguments) == 1
    assert capfd.readouterr().err.startswith(f"error: {problem}\n\nUSAGE: minienvoy healthcheck")


async def test_help_is_help(capfd):
    assert await check("--help") == 0
    assert capfd.readouterr().out.startswith("USAGE: minienvoy healthcheck")
