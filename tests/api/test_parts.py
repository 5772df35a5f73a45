"""Part of a bundle by its path, and a value that is read where it is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.cli.main import run_cli


@pytest.fixture
def remote(tmp_path: Path) -> str:
    """A remote with the bundle ``data``: folders, a file, a long text and numbers."""
    for name in ("images/a.png", "images/b.png", "raw/flights.csv", "note.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    url = f"file://{tmp_path / 'remote'}"
    (tmp_path / "remote").mkdir()
    here = br.open(store=tmp_path / "here", remote=url)
    value = {
        "all": br.Directory(tmp_path / "in"),
        "note": br.File(tmp_path / "in" / "note.txt"),
        "text": "t" * 9000,
        "numbers": [1, 2, 3],
    }
    here.add("data", value, commit=True)
    here.push("data")
    return url


def test_paths_bring_part_of_a_bundle(tmp_path: Path, remote: str) -> None:
    """What was not asked for stays away; a path that is not there says what is."""
    there = br.open(store=tmp_path / "there", remote=remote)
    with pytest.raises(errors.BundleNotFound, match=r"all/imgs/\*; it has .*all/images/a.png"):
        there.pull("data", localize=True, paths=["all/imgs/*"])
    (bundle,) = there.pull("data", localize=True, paths=["all/images/*", "text"])
    assert {link.size for link in there.scope.store.absent(bundle.root)} <= {
        len("raw/flights.csv"),
        8,
    }
    there.pull("data", localize=True, paths="all")
    with pytest.raises(errors.UsageError, match="localize"):
        there.pull("data", paths=["all"])


def test_a_view_is_touched_part_by_part(tmp_path: Path, remote: str) -> None:
    """Of the workspace and of the module."""
    there = br.open(store=tmp_path / "there", remote=remote)
    bundle = there.pull("data")[0]
    seen = there.view("data")
    assert list(seen) == ["all", "note", "text", "numbers"]
    assert seen["numbers"][1] == 2
    assert seen["note"].read_text() == "note.txt"
    assert seen["text"] == "t" * 9000
    assert seen["all"].files()[0] == "images/a.png"
    assert seen["numbers"].value == [1, 2, 3]
    assert there.scope.store.absent(bundle.root) == []
    assert seen.value == there.get("data")
    br.add("mine", {"a": {"b": 1}})
    assert br.view("mine")["a"]["b"] == 1


def test_pull_takes_paths_on_the_command_line(
    remote: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Repeatable; an error names what is there and leaves with its own exit code."""
    for command in (["context", "c"], ["switch", "c"], ["remote", "c", remote]):
        assert run_cli(command) == 0
    pull = ["pull", "data", "--path"]
    assert run_cli([*pull, "all/raw/*", "--path", "note"]) == 0
    assert "pulled data" in capfd.readouterr().out
    assert run_cli([*pull, "nothing"]) == errors.NotFound.exit_code
    assert "numbers" in capfd.readouterr().err
    assert run_cli([*pull, "note", "--localize"]) == 0
