"""Data files of the pipeline's package, in images and in the keys of runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.errors import StaleImage
from bundlerun.images.selection import MAX_DATA_BYTES

PIPES = """
from pathlib import Path

import bundlerun as br

HERE = Path(__file__).parent

class Words(br.Pipe):
    def pipe_run(self, pipeline_input):
        print("running")
        large = HERE / "large.bin"
        return [(HERE / "words.txt").read_text(), large.exists()]

class Stray(br.Pipe):
    def pipe_run(self, pipeline_input):
        module = "un" + "seen"
        return __import__(f"speech.{module}", fromlist=["X"]).X
"""


@pytest.fixture
def speech(tmp_path: Path, base_image: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pipe root of a package with data."""
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    package = tmp_path / "project" / "speech"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "pipes.py").write_text(PIPES)
    (package / "unseen.py").write_text("X = 1\n")
    (package / "words.txt").write_text("old")
    (package / "large.bin").write_bytes(bytes(MAX_DATA_BYTES + 1))
    return package


@pytest.fixture
def shop(tmp_path: Path, speech: Path) -> Iterator[br.Workspace]:
    """A context with a folder as its remote."""
    remote = tmp_path / "remote"
    remote.mkdir()
    workspace = br.open(remote=f"file://{remote}", context="work")
    yield workspace
    workspace.close()


def test_an_edited_data_file_makes_the_image_stale_and_the_run_new(
    shop: br.Workspace, speech: Path
) -> None:
    """Nothing old is found, neither for the file that travels nor for one that is too large."""
    pipe = "speech.pipes.Words"
    shop.dockerize(speech.parent, pipe)
    assert shop.get(shop.run(None, "out", pipe).output) == ["old", False]
    assert shop.run(None, "out", pipe).reused
    (speech / "words.txt").write_text("new")
    with pytest.raises(StaleImage):
        shop.run(None, "out", pipe)
    shop.dockerize(speech.parent, pipe)
    assert shop.get(shop.run(None, "out", pipe).output) == ["new", False]
    (reason,) = shop.why("out").reasons
    assert [change.what for change in reason.changes] == ["speech/words.txt"]
    (speech / "large.bin").write_bytes(bytes(MAX_DATA_BYTES + 2))
    again = shop.run(None, "out", pipe, build=True)
    assert not again.reused
    assert again.record is not None
    (reason,) = shop.why("out").reasons
    assert [change.what for change in reason.changes] == ["speech/large.bin"]


def test_a_container_names_a_file_that_stands_in_no_key(shop: br.Workspace, speech: Path) -> None:
    """A module that is imported under a computed name, here; the log has the warning."""
    shop.dockerize(speech.parent, "speech.pipes.Stray")
    result = shop.run(None, "out", "speech.pipes.Stray")
    log = "\n".join(shop.logs(result.record.run_id))
    assert "bundlerun: warning: speech.pipes.Stray read speech/unseen.py" in log
