"""Binding a context to another remote and back, and what was removed for everybody."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.api.workspace import Workspace
from bundlerun.errors import GivenUp, OtherRemote
from bundlerun.store.reports import Kind
from tests.cli.conftest import Said

Run = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of one's own, whose context "work" is bound to the folder "a"."""
    monkeypatch.setenv("BUNDLERUN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BUNDLERUN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BUNDLERUN_CONTEXT", "work")
    (tmp_path / "f").write_text("x")
    return tmp_path


def other_machine(home: Path) -> Workspace:
    """Another one, bound to the folder "a"."""
    return br.open(home / "other", f"file://{home}/a", "work")


def test_another_remote_wants_a_word_and_the_way_back_forgets_nothing(
    ok: Run, bundlerun: Run, home: Path
) -> None:
    """What lies on the old one alone, and the runs that work on it, are listed; nothing is bound.
    Back again what was pushed is pushed, and a push sends nothing."""
    with_bytes = other_machine(home)
    with_bytes.add("far", {"x": b"far" * 1000}, commit=True)
    with_bytes.push()
    with_bytes.close()
    ok("context", "work")
    ok("remote", "work", f"file://{home}/a")
    ok("pull", "far")
    ok("add", "near", f"f={home}/f", "--commit")
    ok("push")
    workspace = br.open(home / "store", None, "work")
    context = workspace.scope.context()
    for run, uuid in (("run-there", context.remote_uuid), ("run-of-another", "uuid")):
        workspace.scope.store.journal.add(context, {"id": run, "remote_uuid": uuid})
    workspace.close()

    said = bundlerun("remote", "work", f"file://{home}/b")
    assert said.code == OtherRemote.exit_code == 5
    assert "far" in said.out
    assert "near" not in said.out
    assert "run-there" in said.out
    assert "run-of-another" not in said.out
    assert f"is bound to file://{home}/a" in said.err
    assert f"  try: bundlerun remote work file://{home}/b --rebind" in said.err
    assert f"file://{home}/a" in ok("context").out
    assert not list((home / "b").glob("*/*")), "nothing is made there"

    ok("remote", "work", f"file://{home}/b", "--rebind")
    assert {row["name"]: row["version"] for row in ok("ls", "--json").json} == {
        "far": None,
        "near": None,
    }
    said = bundlerun("push")
    assert said.code == 4
    assert "pushed near@" in said.out
    assert f"bundlerun remote work file://{home}/a --rebind" in said.err

    said = bundlerun("fsck")
    assert said.code == 0
    assert f"at file://{home}/a alone" in said.out
    said = bundlerun("cat", "far")
    assert said.code == 4
    assert f"remote CONTEXT file://{home}/a --rebind; bundlerun pull far@" in said.err

    assert bundlerun("remote", "work", f"file://{home}/a").code == 5
    ok("remote", "work", f"file://{home}/a", "--rebind")
    assert {row["name"]: row["version"] for row in ok("ls", "--json").json} == {
        "far": 1,
        "near": 1,
    }
    assert "nothing to push" in ok("push").out


def test_a_remote_that_moved_is_bound_without_a_question(ok: Run, home: Path) -> None:
    """It is the same one, by its uuid: what was pushed is pushed."""
    ok("context", "work")
    ok("remote", "work", f"file://{home}/a")
    ok("add", "x", f"f={home}/f", "--commit")
    ok("push")
    os.rename(home / "a", home / "moved")
    ok("remote", "work", f"file://{home}/moved")
    assert "nothing to push" in ok("push").out
    assert ok("ls", "--json").json[0]["version"] == 1


def test_a_version_that_was_removed_for_everybody_is_no_damage(
    ok: Run, bundlerun: Run, home: Path
) -> None:
    """A machine that has its record alone is told what became of it, and what to type: which gives
    the latest version."""
    other = other_machine(home)
    old = other.add("x", {"bytes": b"old" * 1000}, commit=True)
    other.push()
    ok("context", "work")
    ok("remote", "work", f"file://{home}/a")
    ok("pull", "x")
    other.add("x", {"bytes": b"new" * 1000}, commit=True)
    other.push()
    packs = set((home / "a" / "packs").iterdir())
    record = (home / "a" / "b" / old.id).read_bytes()
    assert [bundle.id for bundle in other.rm("x", old=True, remote=True)] == [old.id]
    other.close()
    # As two clean-ups leave it, first the packs, then the records.
    gone = min(packs, key=lambda path: path.stat().st_mtime_ns)
    gone.unlink()
    for left in (record, None):
        if left is None:
            (home / "a" / "b" / old.id).unlink()
        said = bundlerun("cat", "x")
        assert said.code == GivenUp.exit_code == 4
        assert f"x@{old.id} was removed at file://{home}/a for everybody" in said.err
        assert "  try: bundlerun pull x, which brings the latest version" in said.err
    workspace = br.open(home / "store", None, "work")
    with pytest.raises(GivenUp):
        workspace.get(old)
    with pytest.raises(GivenUp):
        workspace.pull(f"x@{old.id}", localize=True)
    (finding,) = workspace.fsck().findings
    assert finding.kind is Kind.ELSEWHERE
    workspace.pull(localize=True)
    (finding,) = workspace.fsck().findings
    assert (finding.kind, finding.mendable) == (Kind.ELSEWHERE, "rm NAME@ID")
    assert "removed for everybody" in finding.detail
    assert workspace.get("x") == {"bytes": b"new" * 1000}
    workspace.close()


@pytest.mark.parametrize("which", ["--all", "--old"])
def test_many_versions_are_removed_for_everybody_after_they_were_shown(
    ok: Run, home: Path, which: str
) -> None:
    """As a clean-up does it: a first command shows them and removes nothing, here or there."""
    ok("context", "work")
    ok("remote", "work", f"file://{home}/a")
    for n in range(3):
        (home / "f").write_text(str(n))
        ok("add", "words", f"f={home}/f", "--commit")
    ok("push")
    count = 3 if which == "--all" else 2
    shown = ok("rm", "words", "--remote", which).out
    assert shown.count("would remove words@") == count
    assert f"  bundlerun rm words --remote {which} --yes  does it" in shown
    assert len(ok("rm", "words", "--remote", which, "--json").json) == count
    assert not list((home / "a" / "v").glob("*/*+x"))
    assert len(ok("ls", "words", "--json").json) == 3
    assert ok("rm", "words", "--remote", which, "--yes").out.count("removed ") == count
    assert len(list((home / "a" / "v").glob("*/*+x"))) == count


def test_here_alone_versions_are_removed_at_once(ok: Run, home: Path) -> None:
    """The remote keeps them."""
    ok("context", "work")
    ok("add", "x", f"f={home}/f", "--commit")
    assert ok("rm", "x", "--all").out.startswith("removed x@")
