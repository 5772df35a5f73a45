"""A store of the test's own, with one context; and small disks that fill up."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundlerun.settings import StoreSettings
from bundlerun.store.contexts import Context
from bundlerun.store.mounts import IN_MEMORY, file_system, is_shared
from bundlerun.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = Store.open(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def context(store: Store) -> Context:
    """The one context of the store."""
    return store.contexts.create("work")


@dataclass(frozen=True)
class Disk:
    """A folder whose files' times are believed, by a store with these settings."""

    path: Path
    settings: StoreSettings


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A folder on a disk, wherever the tests' own folder is; where there are layers alone, with
    the setting that believes them."""
    places = [tmp_path, Path("/var/tmp"), Path("/tmp"), Path(__file__).parents[2]]
    kinds = {place: file_system(place) for place in places if place.is_dir()}
    chosen = [place for place, kind in kinds.items() if not (kind == "overlay" or is_shared(kind))]
    chosen = [place for place in (*chosen, *kinds) if kinds[place] not in IN_MEMORY]
    if not chosen:
        pytest.fail(f"needs a folder on a disk, not in memory: {[*kinds]}")
    folder = Path(tempfile.mkdtemp(prefix="bundlerun-test-", dir=chosen[0]))
    yield Disk(folder, StoreSettings(trust_times=kinds[chosen[0]]))
    shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory with the given options and says where. Needs root."""
    if os.getuid() != 0:
        pytest.fail('needs root to mount a small disk; leave it out with -m "not service"')
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        subprocess.run(command, check=True)
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
