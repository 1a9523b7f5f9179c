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
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ...errors import KubernetesError

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher

PLUGIN_SECONDS: Final = 30.0
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
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *[str(each) for each in config.get("args") or ()],
            env={**os.environ, **variables, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A group of its own, so that its children can be ended with it.
            start_new_session=True,
        )
    except OSError as error:
        raise KubernetesError(f"exec: {command} can not be run: {error.strerror}") from error
    out, complaint = await _output(process, command, dispatcher)
    if process.returncode:
        text = complaint.decode(errors="replace").strip()
        raise KubernetesError(f"exec: {command} returned {process.returncode}{': ' if text else ''}{text}")
    try:
        told = json.loads(out)
    except ValueError as error:
        raise KubernetesError(f"exec: what {command} prints is no JSON: {error}") from None
    if not isinstance(told, dict) or told.get("apiVersion") != version or not isinstance(told.get("status"), dict):
        raise KubernetesError(f"exec: what {command} prints is no ExecCredential of {version} with a status")
    status: dict[str, Any] = told["status"]
    return status


async def _output(process: asyncio.subprocess.Process, command: str, dispatcher: Dispatcher) -> tuple[bytes, bytes]:
    reading = dispatcher.create_task(process.communicate(), "kubernetes plugin")
    late = False

    def end() -> None:
        nonlocal late
        late = True
        _kill(process)
        reading.cancel()

    timer = dispatcher.create_timer(end)
    timer.enable(PLUGIN_SECONDS)
    try:
        out, complaint = await reading
    except asyncio.CancelledError:
        if not late:
            raise
        raise KubernetesError(f"exec: {command} was ended, it has taken more than {PLUGIN_SECONDS:g} s") from None
    finally:
        timer.disable()
        if process.returncode is None:
            _kill(process)
            await process.wait()
    return out, complaint


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


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
