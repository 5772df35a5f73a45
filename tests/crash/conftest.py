"""The scene that is killed, and where its copies lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.scene import S3Place, World, made_scene
from tests.crash.staging import Stage
from tests.crash.verbs import Verb


def pytest_itemcollected(item: pytest.Item) -> None:
    """Each kills processes: the complete suite has time for them."""
    item.add_marker("heavy")


_ROOM_BYTES = 2 << 30


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is room: a kill asks for no disk, and hundreds of worlds are
    made and removed."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        room = os.statvfs(memory)
        if room.f_bavail * room.f_frsize >= _ROOM_BYTES:
            folder = Path(tempfile.mkdtemp(prefix="bundlerun-crash-", dir=memory))
            yield folder
            shutil.rmtree(folder)
            return
    yield tmp_path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What every verb starts from."""
    return made_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def s3_place(s3_bucket: str, s3_env: dict[str, str]) -> S3Place:
    """A bucket."""
    return S3Place(s3_bucket)


@pytest.fixture
def stage(scene: World, scratch: Path) -> Callable[[Verb], Stage]:
    """Sets the stage for a verb: on files, where a world costs least."""

    def make(verb: Verb) -> Stage:
        source = scene.folder / "source"
        start = scene.copy(scratch / "start")
        workspace = start.workspace()
        verb.before(workspace, source)
        workspace.close()
        before, versions = start.rows(), start.versions()
        end = start.copy(scratch / "end")
        workspace = end.workspace()
        verb.act(workspace, source)
        verb.proof(workspace, source)
        workspace.close()
        return Stage(verb, start, source, before, end.rows(), (versions, end.versions()))

    return make
