"""`configs/kubernetes`: what is deployed, and how."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from minienvoy.testing.fake_kube import FakeKube
from tests.kubectl import kubectl_binary

OVERLAYS = ["base", "overlays/one-service", "overlays/cluster-wide"]

pytestmark = pytest.mark.kubectl

KUSTOMIZE = (1, 22)
"""Since then kubectl has a kustomize that knows `labels`, and folders among `resources`."""


async def kubectl(*arguments: str, stdin: bytes = b"", home: Path) -> str:
    binary = kubectl_binary(KUSTOMIZE)
    process = await asyncio.create_subprocess_exec(
        binary,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(home), "KUBECONFIG": str(home / "kubeconfig")},
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def built(root: Path, overlay: str, home: Path) -> dict[str, Any]:
    """The objects, by their kind."""
    text = await kubectl("kustomize", str(root / "configs/kubernetes" / overlay), home=home)
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


@pytest.mark.asyncio
@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_kubectl_takes_it(overlay: str, root: Path, tmp_path: Path) -> None:
    async with FakeKube(start_delay=0.01) as kube:
        kube.kubeconfig(tmp_path / "kubeconfig")
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "minienvoy"}})
        text = await kubectl("kustomize", str(root / "configs/kubernetes" / overlay), home=tmp_path)
        for dry_run in ("client", "server"):
            out = await kubectl("apply", f"--dry-run={dry_run}", "-f", "-", stdin=text.encode(), home=tmp_path)
            assert "deployment.apps/minienvoy created" in out
        await kubectl("apply", "-f", "-", stdin=text.encode(), home=tmp_path)
        namespace = "minienvoy" if overlay == "overlays/cluster-wide" else "default"
        status = ("rollout", "status", "deployment/minienvoy", "-n", namespace, "--timeout", "30s")
        assert "successfully rolled out" in await kubectl(*status, home=tmp_path)


@pytest.mark.asyncio
async def test_pods_are_restricted_probed_and_drained(root: Path, tmp_path: Path) -> None:
    objects = await built(root, "base", tmp_path)
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "admin"}
    drained = int(container["args"][container["args"].index("--drain-time-s") + 1])
    assert pod["terminationGracePeriodSeconds"] > drained
    assert "/healthcheck/fail" in container["lifecycle"]["preStop"]["exec"]["command"][-1]


@pytest.mark.asyncio
async def test_rights_are_those_of_one_namespace_and_only_to_read(root: Path, tmp_path: Path) -> None:
    objects = await built(root, "base", tmp_path)
    assert "ClusterRole" not in objects
    assert {verb for rule in objects["Role"]["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}


@pytest.mark.asyncio
async def test_another_configuration_is_another_template(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "kubernetes"
    shutil.copytree(root / "configs/kubernetes", copy)
    names = []
    for change in ("", "# changed\n"):
        file = copy / "base/envoy.yaml"
        file.write_text(file.read_text() + change)
        objects = {each["kind"]: each for each in yaml.safe_load_all(
            await kubectl("kustomize", str(copy / "base"), home=tmp_path)
        )}  # fmt: skip
        volumes = objects["Deployment"]["spec"]["template"]["spec"]["volumes"]
        assert volumes[0]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
        names.append(objects["ConfigMap"]["metadata"]["name"])
    assert names[0] != names[1]
