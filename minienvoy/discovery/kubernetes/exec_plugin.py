"""Credentials that a program tells: `users[].user.exec` of a kubeconfig.

Kubernetes: `client-go/plugin/pkg/client/auth/exec`. The client library runs such programs without a limit, and reads
what they complain about only after what they tell, so that one may wait for ever. Here a program has `PLUGIN_SECONDS`,
and is ended with everything that it has started.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ...errors import KubernetesError

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher

PLUGIN_SECONDS: Final = 30.0
MAX_OUTPUT: Final = 1 << 20
"""Bytes that a program may print, complaints included."""
_EXTENSION: Final = "client.authentication.k8s.io/exec"
_CLUSTER_FIELDS: Final = (
    "server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url"
)  # fmt: skip


async def run_plugin(config: Mapping[str, Any], cluster: Mapping[str, Any], dispatcher: Dispatcher) -> dict[str, Any]:
    """The `status` of the `ExecCredential` that the program prints.

    Raises:
        KubernetesError: it fails, takes too long, or prints something else.
    """
    for name in ("command", "apiVersion"):
        if not config.get(name):
            raise KubernetesError(f"exec: there is no {name}")
    command = str(config["command"])
    version = str(config["apiVersion"])
    variables = {str(each["name"]): str(each["value"]) for each in config.get("env") or ()}
    spec: dict[str, Any] = {"interactive": False}
    if config.get("provideClusterInfo"):
        spec["cluster"] = {name: cluster[name] for name in _CLUSTER_FIELDS if name in cluster}
        for each in cluster.get("extensions") or ():
            if each.get("name") == _EXTENSION:
                spec["cluster"]["config"] = each.get("extension")
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    arguments = [str(each) for each in config.get("args") or ()]
    environment = {**os.environ, **variables, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    code, out, complaint = await _run(command, arguments, environment, dispatcher)
    if code:
        text = complaint.decode(errors="replace").strip()
        raise KubernetesError(f"exec: {command} returned {code}{': ' if text else ''}{text}")
    try:
        told = json.loads(out)
    except ValueError as error:
        raise KubernetesError(f"exec: what {command} prints is no JSON: {error}") from None
    if not isinstance(told, dict) or told.get("apiVersion") != version or not isinstance(told.get("status"), dict):
        raise KubernetesError(f"exec: what {command} prints is no ExecCredential of {version} with a status")
    status: dict[str, Any] = told["status"]
    return status


class _Program(asyncio.SubprocessProtocol):
    """Keeps what a program tells and complains about, and knows when it has ended and all of its output is closed."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.output: dict[int, list[bytes]] = {1: [], 2: []}
        self.size = 0
        self._transport: asyncio.SubprocessTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.size += len(data)
        if self.size > MAX_OUTPUT:
            self.kill()
        else:
            self.output[fd].append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def kill(self) -> None:
        """With everything that it has started, which may have its output open, too."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), signal.SIGKILL)
        self._transport.close()

    async def end(self) -> None:
        """Nothing of it is left then."""
        if not self.ended.is_set():
            self.kill()
            await self.ended.wait()


async def _start(
    command: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[asyncio.SubprocessTransport, _Program]:
    return await asyncio.get_running_loop().subprocess_exec(
        _Program,
        command,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        # A group of its own, so that its children can be ended with it.
        start_new_session=True,
    )


async def _run(
    command: str, arguments: Sequence[str], environment: Mapping[str, str], dispatcher: Dispatcher
) -> tuple[int | None, bytes, bytes]:
    """Its exit code, output and complaints. Nothing of it is left when this ends, however it ends."""
    # A task of its own: given up in the middle, asyncio would forget pipes that it has opened.
    starting = dispatcher.create_task(_start(command, arguments, environment), "kubernetes plugin")
    try:
        transport, program = await asyncio.shield(starting)
    except OSError as error:
        raise KubernetesError(f"exec: {command} can not be run: {error.strerror}") from error
    except asyncio.CancelledError:
        with suppress(OSError):
            transport, program = await starting
            await program.end()
            transport.close()
        raise
    late = False

    def end() -> None:
        nonlocal late
        late = True
        program.kill()

    timer = dispatcher.create_timer(end)
    timer.enable(PLUGIN_SECONDS)
    try:
        await program.ended.wait()
    finally:
        timer.disable()
        await program.end()
        transport.close()
    if late:
        raise KubernetesError(f"exec: {command} was ended, it has taken more than {PLUGIN_SECONDS:g} s")
    if program.size > MAX_OUTPUT:
        raise KubernetesError(f"exec: {command} was ended, it has printed more than {MAX_OUTPUT} bytes")
    return transport.get_returncode(), b"".join(program.output[1]), b"".join(program.output[2])


async def load_kubeconfig(path: str, context: str, configuration: Any, dispatcher: Dispatcher) -> float | None:
    """Have the client library read a kubeconfig into `configuration`; when what a plugin told expires, if one did."""
    from datetime import datetime

    from kubernetes_asyncio.config import kube_config

    merged: Any = kube_config.KubeConfigMerger(path)
    expires: float | None = None

    class Loader(kube_config.KubeConfigLoader):
        async def load_from_exec_plugin(self) -> bool:
            nonlocal expires
            loader: Any = self
            status = await run_plugin(loader._user.value["exec"], loader._cluster.value, dispatcher)
            if "token" in status:
                loader.token = f"Bearer {status['token']}"
            elif not {"clientCertificateData", "clientKeyData"} <= status.keys():
                raise KubernetesError("exec: there is neither a token nor a certificate with its key")
            if "clientCertificateData" in status:
                loader.cert_file = file_of(status, "clientCertificateData")
                loader.key_file = file_of(status, "clientKeyData")
            if status.get("expirationTimestamp"):
                expires = datetime.fromisoformat(status["expirationTimestamp"]).timestamp()
            return True

    def file_of(status: dict[str, Any], name: str) -> Any:
        make: Any = kube_config.FileOrData
        return make(status, None, data_key_name=name, base64_file_content=False).as_file()

    make: Any = Loader
    await make(config_dict=merged.config, config_base_path=None, active_context=context or None).load_and_set(
        configuration
    )
    return expires
