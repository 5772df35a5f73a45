"""``bundlerun gc`` and ``rm --remote`` from the command line, and as verbs of Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import bundlerun as br
from tests.cli.conftest import Said

Run = Callable[..., Said]


@pytest.fixture
def files(tmp_path: Path, ok: Run) -> list[Path]:
    """A bound context, and three files."""
    (tmp_path / "remote").mkdir()
    ok("context", "work")
    ok("remote", "work", f"file://{tmp_path}/remote")
    paths = [tmp_path / f"f{n}" for n in range(3)]
    for path in paths:
        path.write_bytes(os.urandom(300_000))
    return paths


def test_gc_shows_what_it_would_delete_and_then_does(ok: Run, files: list[Path]) -> None:
    """A dry run first; by kind, with counts and bytes, and how to do it."""
    for path in files[:2]:
        ok("add", "x", f"f={path}", "--commit")
    ok("rm", "x")
    assert "nothing to delete" in ok("gc").out, "it is young"
    shown = ok("gc", "--grace", "0s").out
    assert "large objects" in shown
    assert "would delete" in shown
    assert "bundlerun gc --grace 0s --delete" in shown
    report = ok("gc", "--grace", "0", "--json").json
    assert report["deleted"] is False
    assert report["bytes"] >= 300_000
    assert "deleted 300" in ok("gc", "--grace", "0", "--delete").out
    assert "nothing to delete" in ok("gc", "--grace", "0m", "--yes").out
    assert ok("cat", "x").code == 0


@pytest.mark.parametrize("text", ["", "7w", "-1d", "d", "1 d", "1e3"])
def test_a_grace_period_that_is_none_is_refused(bundlerun: Run, text: str) -> None:
    """With the units that there are."""
    said = bundlerun("gc", "--grace", text)
    assert said.code == 2
    assert "--grace 7d" in said.err


def test_a_version_is_given_up_and_its_space_freed(
    ok: Run, bundlerun: Run, files: list[Path], tmp_path: Path
) -> None:
    """rm --remote, gc --remote, and two windows later once more."""
    for path in files[:2]:
        ok("add", "x", f"f={path}", "--commit")
        ok("push", "x")
    there = ok("ls", "--json").json[0]
    assert ok("rm", "x", "--remote").out.startswith("removed x@")
    assert list((tmp_path / "remote" / "v" / "x").glob("*+x"))
    ok("pull", "x")
    assert ok("ls", "--json").json[0]["id"] != there["id"]
    shown = ok("gc", "--remote", "--grace", "0").out
    assert "would condemn 1 pack" in shown
    assert "2 h later" in shown
    assert "condemned 1 pack" in ok("gc", "--remote", "--grace", "0", "--delete").out
    shown = ok("gc", "--remote", "--grace", "0").out
    assert "still to wait: 1 pack" in shown
    assert len(list((tmp_path / "remote" / "packs").iterdir())) == 2
    ok("rm", "x", "--all", "--remote", "--yes")
    assert bundlerun("pull", "x").code == 4
    assert bundlerun("rm", "x", "--remote").code == 4


def test_a_context_without_a_remote_says_so(ok: Run, bundlerun: Run, tmp_path: Path) -> None:
    """Both need one; nothing was removed."""
    ok("context", "alone")
    ok("switch", "alone")
    (tmp_path / "f").write_bytes(b"x")
    ok("add", "x", f"f={tmp_path}/f", "--commit")
    assert bundlerun("gc", "--remote").code == 6
    assert bundlerun("rm", "x", "--remote").code == 6
    assert len(ok("ls", "--json").json) == 1


def test_old_versions_are_removed_everywhere(tmp_path: Path) -> None:
    """Also those that only the remote knew of; the verbs of Python."""
    remote = f"file://{tmp_path}/remote"
    one = br.open(tmp_path / "one", remote, "work")
    two = br.open(tmp_path / "two", remote, "work")
    for n in range(3):
        one.add("x", n, commit=True)
    one.push()
    two.pull("x")
    removed = two.rm("x", old=True, remote=True)
    assert len(removed) == 2
    assert [two.get(bundle) for bundle in one.pull("x", all_versions=True)] == [2]
    assert two.gc(grace_s=0.0, delete=True).deleted
    assert two.get("x") == 2
    assert one.gc(remote=True).condemned is None, "it is young"
    report = one.gc(remote=True, grace_s=0.0)
    assert (report.deleted, report.wait_s) == (False, 7200.0)
    one.rm(f"x@{removed[0].id}", remote=True)
    for workspace in (one, two):
        workspace.close()
