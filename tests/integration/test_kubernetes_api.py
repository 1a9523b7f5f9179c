"""Where the API server is and who we are: kubeconfigs, tokens that change, plugins, TLS."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from minienvoy.discovery.kubernetes.api_client import KubernetesApi
from minienvoy.discovery.kubernetes.settings import ApiSource
from minienvoy.errors import KubernetesError
from minienvoy.event.simulated import SimulatedDispatcher
from tests.kube_server import KubeServer

pytestmark = pytest.mark.asyncio
PODS = "/api/v1/namespaces/shop/pods"


@pytest_asyncio.fixture
async def kube() -> AsyncIterator[KubeServer]:
    async with KubeServer() as server:
        yield server


class Client:
    """One API and the time in which it lives."""

    def __init__(self, kubeconfig: str, context: str = "") -> None:
        now = datetime.now(UTC).timestamp()
        self.dispatcher = SimulatedDispatcher(asyncio.get_running_loop(), now)
        self.api = KubernetesApi(ApiSource(kubeconfig, context), self.dispatcher)

    async def ask(self, path: str = PODS) -> int:
        response = await self.api.get(path, (("limit", "1"),))
        try:
            while await response.chunk():
                pass
        finally:
            response.close()
        return response.status


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Any]:
    made: list[Client] = []

    def make(*arguments: str) -> Client:
        made.append(Client(*arguments))
        return made[-1]

    yield make
    for client in made:
        client.api.close()
        await client.dispatcher.stop()


async def test_a_token_is_sent_and_the_namespace_is_the_contexts(
    kube: KubeServer, tmp_path: Path, clients: Any
) -> None:
    client = clients(kube.kubeconfig(tmp_path, token="secret"))
    assert await client.ask() == 200
    assert kube.requests == [(PODS, {"limit": "1"})]
    assert kube.tokens == ["Bearer secret"]
    assert client.api.default_namespace() == "shop"


def add_context(path: str) -> None:
    config = json.loads(Path(path).read_text())
    config["contexts"].append({"name": "other", "context": {"cluster": "c", "user": "v", "namespace": "there"}})
    config["users"].append({"name": "v", "user": {"token": "mine"}})
    Path(path).write_text(json.dumps(config))


async def test_another_context_may_be_named(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    path = kube.kubeconfig(tmp_path)
    add_context(path)
    client = clients(path, "other")
    assert (await client.ask(), kube.tokens, client.api.default_namespace()) == (200, ["Bearer mine"], "there")
    with pytest.raises(KubernetesError, match="context nowhere can not be used"):
        await clients(path, "nowhere").ask()


async def test_a_token_file_is_read_again_when_it_is_another(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    client = clients(kube.kubeconfig(tmp_path, tokenFile="token"))
    await client.ask()
    (tmp_path / "next").write_text("two")
    (tmp_path / "next").replace(token)
    await client.ask()
    assert kube.tokens == ["Bearer one", "Bearer two"]


async def test_a_kubeconfig_is_read_again_when_it_is_another(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    client = clients(kube.kubeconfig(tmp_path, token="one"))
    await client.ask()
    kube.kubeconfig(tmp_path, token="two")
    await client.ask()
    await client.ask()
    assert kube.tokens == ["Bearer one", "Bearer two", "Bearer two"]


async def test_the_server_is_known_by_its_certificate(root: Path, tmp_path: Path, clients: Any) -> None:
    tls = root / "tests/data/tls"
    async with KubeServer(certificate=tls / "server.pem", key=tls / "server.key") as kube:
        path = kube.kubeconfig(tmp_path, authority=str(tls / "other_ca.pem"))
        client = clients(path)
        with pytest.raises(KubernetesError, match="certificate verify failed"):
            await client.ask()
        kube.kubeconfig(tmp_path, authority=str(tls / "ca.pem"), token="secret")
        assert await client.ask() == 200
        assert kube.tokens == ["Bearer secret"]


def plugin(directory: Path, *, seconds: float = 3600.0, fail: str = "") -> dict[str, Any]:
    """Gives t1, t2, ... valid for so long; fails while a file called `fail` is there."""
    script = directory / "plugin.py"
    expires = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    script.write_text(
        f"""
import json, pathlib, sys
if pathlib.Path({str(directory / "broken")!r}).exists():
    sys.exit("out of order")
count = pathlib.Path({str(directory / "count")!r})
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
status = {{"token": f"t{{number}}", "expirationTimestamp": {expires!r}}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""
    )
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(script)]}
    return {"exec": command}


async def test_a_plugin_is_run_again_before_its_credentials_expire(
    kube: KubeServer, tmp_path: Path, clients: Any
) -> None:
    client = clients(kube.kubeconfig(tmp_path, **plugin(tmp_path)))
    await client.ask()
    await client.ask()
    assert kube.tokens == ["Bearer t1", "Bearer t1"]
    client.dispatcher.advance(3550)
    await client.ask()
    assert kube.tokens[2:] == ["Bearer t2"]


async def test_a_plugin_is_run_again_when_its_credentials_are_refused(
    kube: KubeServer, tmp_path: Path, clients: Any
) -> None:
    client = clients(kube.kubeconfig(tmp_path, **plugin(tmp_path)))
    await client.ask()
    client.api.forget_credentials()
    await client.ask()
    await client.ask()
    assert kube.tokens == ["Bearer t1", "Bearer t2", "Bearer t2"]


async def test_while_a_plugin_fails_its_last_credentials_are_used(
    kube: KubeServer, tmp_path: Path, clients: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    client = clients(kube.kubeconfig(tmp_path, **plugin(tmp_path)))
    await client.ask()
    (tmp_path / "broken").touch()
    client.api.forget_credentials()
    await client.ask()
    assert kube.tokens == ["Bearer t1", "Bearer t1"]
    assert "out of order" in capfd.readouterr().err
    (tmp_path / "broken").unlink()
    client.dispatcher.advance(121)
    await client.ask()
    assert kube.tokens[2:] == ["Bearer t2"]


async def test_a_plugin_that_fails_at_once_is_told(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(KubernetesError, match="out of order"):
        await clients(kube.kubeconfig(tmp_path, **plugin(tmp_path))).ask()


async def test_a_plugin_that_hangs_is_ended_with_its_children(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    """It has started another program, which has its output open, too."""
    child = tmp_path / "child"
    script = f"sleep 600 & echo $! > {child}.new && mv {child}.new {child}; wait"
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]}
    client = clients(kube.kubeconfig(tmp_path, exec=command))
    asking = asyncio.ensure_future(client.ask())
    async with asyncio.timeout(20):
        while not (child.exists() and client.dispatcher.next_deadline()):  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0.01)
        client.dispatcher.advance(29)
        await asyncio.sleep(0)
        assert not asking.done()
        client.dispatcher.advance(2)
        with pytest.raises(KubernetesError, match="sh was ended, it has taken more than 30 s"):
            await asking
        while is_running(int(child.read_text())):  # noqa: ASYNC110 (the kernel ends it)
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_plugin_is_ended_when_nobody_waits_for_it(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    child = tmp_path / "child"
    script = f"echo $$ > {child}.new && mv {child}.new {child}; sleep 600"
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]}
    asking = asyncio.ensure_future(clients(kube.kubeconfig(tmp_path, exec=command)).ask())
    async with asyncio.timeout(20):
        while not child.exists():  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not is_running(int(child.read_text()))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("echo nothing", "what sh prints is no JSON"),
        ("echo '{}'", "what sh prints is no ExecCredential of client.authentication.k8s.io/v1 with a status"),
        ("head -c 300000 /dev/zero | tr '\\0' x >&2; exit 3", "sh returned 3: xxx"),
        ("yes", "sh was ended, it has printed more than 1048576 bytes"),
        (
            """echo '{"apiVersion": "client.authentication.k8s.io/v1", "status": {}}'""",
            "there is neither a token nor a certificate with its key",
        ),
    ],
)
async def test_a_plugin_that_tells_something_else_is_told(
    kube: KubeServer, tmp_path: Path, clients: Any, command: str, problem: str
) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", command]}
    with pytest.raises(KubernetesError, match=problem):
        await clients(kube.kubeconfig(tmp_path, exec=plugin)).ask()


async def test_a_plugin_is_told_where_it_is(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    version = "client.authentication.k8s.io/v1"
    told = tmp_path / "told"
    script = (
        f'echo "$KUBERNETES_EXEC_INFO $OWN" > {told}; '
        f"""echo '{{"apiVersion": "{version}", "kind": "ExecCredential", "status": {{"token": "t"}}}}'"""
    )
    plugin = {
        "apiVersion": version,
        "command": "sh",
        "args": ["-c", script],
        "env": [{"name": "OWN", "value": "variable"}],
        "provideClusterInfo": True,
    }
    await clients(kube.kubeconfig(tmp_path, exec=plugin)).ask()
    info, _, own = told.read_text().strip().rpartition(" ")
    assert own == "variable"
    spec = {"interactive": False, "cluster": {"server": kube.url}}
    assert json.loads(info) == {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    assert kube.tokens == ["Bearer t"]


async def test_a_kubeconfig_that_is_not_there_is_told(tmp_path: Path, clients: Any) -> None:
    with pytest.raises(KubernetesError, match="can not be read: No such file or directory"):
        await clients(str(tmp_path / "none")).ask()
    (tmp_path / "bad").write_text("{")
    with pytest.raises(KubernetesError, match="is no YAML"):
        clients(str(tmp_path / "bad")).api.default_namespace()


async def test_a_server_that_is_not_there_is_told(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    client = clients(kube.kubeconfig(tmp_path))
    await kube.stop()
    with pytest.raises(KubernetesError, match=f"no way to {kube.url}"):
        await client.ask()


async def test_a_cut_in_the_middle_is_an_error_and_an_end_is_not(
    kube: KubeServer, tmp_path: Path, clients: Any
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        await stream.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return stream

    kube.answer = cut
    client = clients(kube.kubeconfig(tmp_path))
    with pytest.raises(KubernetesError, match="the connection broke"):
        await client.ask()


@pytest.mark.parametrize(("minor", "has"), [("33", False), ("34", True), ("36+", True), ("", False)])
async def test_watch_list_is_there_since_1_34(
    kube: KubeServer, tmp_path: Path, clients: Any, minor: str, has: bool
) -> None:
    kube.minor = minor  # type: ignore[assignment]
    client = clients(kube.kubeconfig(tmp_path))
    assert await client.api.has_watch_list() is has
    assert await client.api.has_watch_list() is has
    assert len(kube.requests) == 1


async def test_who_may_not_ask_for_the_version_does_without(kube: KubeServer, tmp_path: Path, clients: Any) -> None:
    async def forbidden(request: web.Request) -> web.Response:
        return web.Response(status=403)

    kube.answer = forbidden
    assert not await clients(kube.kubeconfig(tmp_path)).api.has_watch_list()


async def test_in_a_cluster_the_service_account_is_who_we_are(
    tmp_path: Path, clients: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(KubernetesError, match="the service account of this pod can not be used: Service token file"):
        await clients("").ask()
    assert clients("").api.default_namespace() == "default"
