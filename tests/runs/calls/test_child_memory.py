"""An item that uses up the memory of its container fails alone, and is told as what it is."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Any

from bundlerun.futures.sealing import KEY_VARIABLE
from tests.runs.calls.scene import Scene

ROOT = Path(__file__).parents[3]
SITE = sysconfig.get_paths()["purelib"]


def eats(mib: int) -> int:
    """Use so much memory, MiB."""
    data = bytearray(mib << 20)
    return len(data) >> 20


def contained(engine: Any, image: str, scene: Scene, limit_mib: int) -> tuple[int, str]:
    """The exit code and the log of a job's worker in a container with this much memory."""
    mounts = {str(path): {"bind": str(path), "mode": "ro"} for path in (ROOT, SITE)}
    mounts[str(scene.folder)] = {"bind": str(scene.folder), "mode": "rw"}
    worker = ["python3", "-m", "bundlerun", "worker", scene.run, "--part", "0"]
    container = engine.containers.run(
        image,
        [*worker, "--remote", scene.remote.url],
        environment={"PYTHONPATH": f"{ROOT}:{SITE}", KEY_VARIABLE: scene.seal.hex()},
        volumes=mounts,
        user=str(os.getuid()),
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=f"{limit_mib}m",
        memswap_limit=f"{limit_mib}m",
        network_mode="none",
        init=True,
        detach=True,
    )
    try:
        code = container.wait(timeout=120)["StatusCode"]
        return code, container.logs().decode()
    finally:
        container.remove(force=True)


def test_an_item_out_of_memory_fails_alone(tmp_path: Path, engine: Any, base_image: str) -> None:
    """The kernel kills its process, and not the supervisor; the next item has the memory again."""
    scene = Scene(tmp_path / "scene", eats, [1, 600, 100, 600, 2])
    code, log = contained(engine, base_image, scene, limit_mib=300)
    assert code == 12, log
    ends = scene.ends()
    assert [end.failure for end in ends] == [None, "OutOfMemory", None, "OutOfMemory", None]
    assert scene.values()[2] == 100
    assert ends[1].reason == "it was killed for its memory: its job has 100 MiB"
    assert 100 < ends[2].peak_memory_mib < 300
    assert ends[4].peak_memory_mib < 100, "the peak of an item before it"
