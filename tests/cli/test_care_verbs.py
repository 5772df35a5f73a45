"""fsck, why and diff on the command line: what is printed, and the exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.errors import IntegrityError
from tests.cli.conftest import Said

Cli = Callable[..., Said]


@pytest.fixture
def bound(ok: Cli, tmp_path: Path) -> Path:
    """A context with a remote in a folder, which is given."""
    remote = tmp_path / "remote"
    remote.mkdir()
    ok("context", "work")
    ok("remote", "work", f"file://{remote}")
    return remote


def test_a_whole_store_is_told_in_one_line(ok: Cli, bound: Path) -> None:
    """What was looked at, and the verdict."""
    br.add("x", ["a" * 5000], commit=True)
    ok("push")
    assert ok("fsck").out.rstrip().endswith("whole")
    said = ok("fsck", "--remote").out
    assert len(said.splitlines()) == 1
    assert said.startswith(f"file://{bound}: ")
    assert "1 pack" in said


def test_an_object_that_was_written_to_is_found_and_had_back(
    ok: Cli, bundlerun: Cli, bound: Path, tmp_path: Path
) -> None:
    """As through a link to the store's file: what was pushed comes back from the remote, and of
    what was not it is said."""
    sources = {name: tmp_path / name for name in ("pushed", "alone")}
    for name, source in sources.items():
        source.write_bytes(name.encode() * 100_000)
        br.add(name, br.File(source), commit=True)
        if name == "pushed":
            ok("push")
    for path in br.open().scope.store.path.glob("objects/??/*"):
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.write(b"WRONG")
        path.chmod(0o444)
    said = bundlerun("fsck")
    assert said.code == 7
    told = {
        name: [line for line in said.out.splitlines() if f"{name}@" in line] for name in sources
    }
    assert all("was written to after it was made" in line for (line,) in told.values())
    assert "no other copy is known: add the same value again" in told["alone"][0]
    assert f"can be mended: from file://{bound}" in said.out
    assert "2 damaged, of which 1 can be mended" in said.out
    said = bundlerun("push", "alone")
    assert (said.code, "fsck --repair" in said.err) == (7, True)
    assert bundlerun("fsck", "--repair").code == 7
    assert br.get("pushed").read_bytes() == sources["pushed"].read_bytes()
    br.add("again", br.File(sources["alone"]))
    assert br.get("alone").path.read_bytes() == sources["alone"].read_bytes()
    assert ok("fsck").out.rstrip().endswith("whole")


def test_damage_is_named_and_exits_with_seven(ok: Cli, bundlerun: Cli, bound: Path) -> None:
    """And how it can be mended; mended it exits with zero."""
    br.add("x", ["a" * 5000], commit=True)
    ok("push")
    (pack,) = (bound / "packs").iterdir()
    data = pack.read_bytes()
    pack.unlink()
    pack.write_bytes(data[:-1])
    said = bundlerun("fsck", "--remote")
    assert said.code == IntegrityError.exit_code == 7
    assert f"pack {pack.name}" in said.out
    assert "can be mended" in said.out
    assert "1 damaged" in said.out
    found = bundlerun("fsck", "--remote", "--json")
    assert found.code == 7
    assert found.json["whole"] is False
    assert found.json["findings"][0]["where"] == f"packs/{pack.name}"
    said = ok("fsck", "--remote", "--repair")
    assert said.out.startswith("mended")
    assert pack.read_bytes() == data
    assert ok("fsck", "--remote", "--json").json["findings"] == []


def test_diff_tells_files_tables_and_values(ok: Cli, tmp_path: Path) -> None:
    """A line each; more than the limit is counted."""
    import pyarrow as pa

    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text("old")
    old = br.add("x", {"f": br.Directory(folder), "t": pa.table({"a": [1, 2]}), "n": 1})
    for number in range(1, 70):
        (folder / f"{number}.txt").write_text("new!")
    br.add("x", {"f": br.Directory(folder), "t": pa.table({"a": [1.5]}), "n": 2})
    said = ok("diff", f"x@{old.id}", "x").out
    assert "67 added, 4 changed" in said
    assert '~ value["f"]/1.txt  file 3 B -> file 4 B' in said
    assert '+ value["f"]/3.txt  file 4 B' in said
    assert "... and 21 more" in said
    whole = ok("diff", f"x@{old.id}", "x", "--limit", "100").out
    assert '~ value["t"]  arrow table, 2 rows, 1 columns -> arrow table, 1 rows, 1 columns' in whole
    assert "~ column a  int64 -> double" in whole
    assert '~ value["n"]  1 -> 2' in whole
    assert "more" not in whole
    assert ok("diff", f"x@{old.id}", "x", "--json").json["added"] == 67


@pytest.mark.parametrize("verb", ["diff", "cat"])
def test_what_is_shown_is_of_the_versions_that_are_named(
    ok: Cli, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A version that another process brings in the middle changes neither half of the output."""
    old = br.add("x", {"n": 1}, commit=True)
    new = br.add("x", {"n": 2}, commit=True)

    def and_then_another(method: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object, **options: object) -> object:
            found = method(*arguments, **options)
            br.add("x", {"n": 3}, commit=True)
            return found

        return called

    for name in ("find", "diff", "cat"):
        monkeypatch.setattr(br.Workspace, name, and_then_another(getattr(br.Workspace, name)))
    if verb == "diff":
        said = ok("diff", "x", f"x@{old.id}").out
        assert said.startswith(f"x@{new.id[:18]} -> x@{old.id[:18]}")
        assert "2 -> 1" in said
    else:
        said = ok("cat", "x").out
        assert said.startswith(f"x@{new.id[:18]}")
        assert "n: int 2" in said


def test_diff_of_equal_values_says_so(ok: Cli) -> None:
    """Exit code 0, as for any other."""
    br.add("x", [1, 2])
    br.add("y", [1, 2])
    assert ok("diff", "x", "y").out.rstrip().endswith(": equal")
    assert ok("diff", "x", "y", "--json").json["equal"] is True


PIPES = """
import luigi

import bundlerun as br

class Base(br.Pipe):
    step = luigi.IntParameter(default=1)
    def pipe_run(self, pipeline_input):
        return self.step

class Top(br.Pipe):
    by = luigi.IntParameter(default=2)
    step = luigi.IntParameter(default=1)
    def requires(self):
        return {"base": Base(step=self.step)}
    def pipe_run(self, pipeline_input, base):
        return [self.by, base]
"""


def test_why_names_what_differs_and_where_to_look_next(
    ok: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters, the input's entries, and the dependency's own why."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "care_pipes.py").write_text(PIPES)
    br.add("in", {"a": 1})
    ok("apply", "in", "out", "care_pipes.Top")
    assert "is the first of its name" in ok("why", "out").out
    br.add("in", {"a": 2})
    ok("apply", "in", "out", "care_pipes.Top", "--by", "3")
    said = ok("why", "out").out
    assert "by: 2 -> 3" in said
    assert '~ value["a"]  1 -> 2' in said
    assert "the same: pipe, source, dependencies, environment" in said
    ok("apply", "in", "out", "care_pipes.Top", "--by", "3", "--step", "4")
    said = ok("why", "out").out
    assert "bundlerun why care_pipes.Base@" in said
    assert "1 changed" in said
    ok("apply", "--force", "in", "out", "care_pipes.Top", "--by", "3", "--step", "4")
    assert "differs in nothing" in ok("why", "out").out
    assert "was added" in ok("why", "in").out
    assert ok("why", "out", "--json").json["verdict"] == "forced"
