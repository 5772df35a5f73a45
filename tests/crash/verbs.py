"""The verbs that are killed, each with what has to be there before it and what proves it done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundlerun.api.workspace import Workspace
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import BundleNotFound, BundlerunError, Conflict, ContextNotFound
from bundlerun.remotes.base import Remote
from bundlerun.store.reports import GcReport
from tests.crash.flow import Total
from tests.crash.scene import value
from tests.remotes.watched import Counting

Act = Callable[[Workspace, Path], Any]
"""Does something with a workspace; the path is the folder of source files."""


def _nothing(workspace: Workspace, source: Path) -> None:
    return


@dataclass(frozen=True)
class Verb:
    """One verb. ``before`` brings the scene to where it starts; ``proof`` looks at what it brought
    about; ``done``: what it raises when it was carried out already; ``kills``: at how many of its
    writes it is killed, at least."""

    name: str
    act: Act
    kills: int
    before: Act = _nothing
    proof: Act = _nothing
    done: type[BundlerunError] | None = None


def _add(workspace: Workspace, source: Path) -> None:
    workspace.add("new", value(source, "three", "third"), tags={"k": "v"})


def _add_and_commit(workspace: Workspace, source: Path) -> None:
    workspace.add("new", value(source, "three", "third"), tags={"k": "v"}, commit=True)


def _new_is_equal(workspace: Workspace, source: Path) -> None:
    assert workspace.get("new") == value(source, "three", "third")


def _add_much(workspace: Workspace, source: Path) -> None:
    """More than one transaction's worth of small objects."""
    piece = (source / "huge").read_bytes()[:200_000]
    workspace.add("new", [bytes([n]) + piece for n in range(100)], commit=True)


def _commit_huge(workspace: Workspace, source: Path) -> None:
    workspace.add("huge", {"huge": File(source / "huge")}, commit=True)


def _tag_pushed(workspace: Workspace, source: Path) -> None:
    workspace.push()
    workspace.tag("data", {"late": "1"})


def _is_whole(workspace: Workspace, source: Path) -> None:
    assert workspace.get("theirs") == {"folder": Directory(source / "two"), "n": 2}


def _touch(workspace: Workspace, source: Path) -> None:
    """Files and folders under their own names."""
    folder = workspace.get("theirs")["folder"].path
    wanted = (source / "two" / "deep" / "c.txt").read_bytes()
    assert (folder / "deep" / "c.txt").read_bytes() == wanted
    _touch_data(workspace, source)


def _touch_data(workspace: Workspace, source: Path) -> None:
    folder = workspace.get("data")["folder"].path
    wanted = (source / "two" / "large.bin").read_bytes()
    assert (folder / "large.bin").read_bytes() == wanted
    large = workspace.get("data")["large"].path
    assert large.read_bytes() == (source / "second").read_bytes()


def _apply(workspace: Workspace, source: Path) -> None:
    workspace.apply("raw", "out", Total, commit=True)


def _sum_is_right(workspace: Workspace, source: Path) -> None:
    assert workspace.get("out") == {"total": 14, "size": 300_000}


def _pull_localized(workspace: Workspace, source: Path) -> None:
    workspace.pull("theirs", localize=True)


class Later(Counting):
    """A remote as it will be found once all that is there now is old."""

    def __init__(self, inner: Remote, days: int) -> None:
        super().__init__(inner)
        self.days = days

    def now_s(self) -> float:
        return super().now_s() + self.days * 86_400.0


def _forget_everywhere(workspace: Workspace, source: Path) -> None:
    """Both versions, so that packs are dead."""
    workspace.push()
    workspace.rm("data", all=True, remote=True)


def _collect(workspace: Workspace, days: int) -> GcReport:
    """The clean-up of the remote so many days from now."""
    url = workspace.scope.context().remote_url or ""
    remote = workspace.scope._remotes[url]
    workspace.scope._remotes[url] = Later(remote, days)
    try:
        return workspace.gc(remote=True, delete=True)
    finally:
        workspace.scope._remotes[url] = remote


def _condemned(workspace: Workspace, source: Path) -> None:
    _forget_everywhere(workspace, source)
    assert _collect(workspace, 30).condemned is not None


def _nothing_to_collect(workspace: Workspace, source: Path) -> None:
    report = _collect(workspace, 60)
    assert (report.count, report.condemned, report.waiting) == (0, None, None)


def _forget(workspace: Workspace, source: Path) -> None:
    _touch_data(workspace, source)
    workspace.rm("data", all=True)


def _sweep(workspace: Workspace, source: Path) -> None:
    workspace.gc(delete=True, grace_s=0.0)


def _nothing_to_sweep(workspace: Workspace, source: Path) -> None:
    assert workspace.gc(grace_s=0.0).swept == ()


LOCAL = (
    Verb("add", _add, 36, proof=_new_is_equal),
    Verb("add-and-commit", _add_and_commit, 36, proof=_new_is_equal),
    Verb("add-much", _add_much, 20),
    Verb("commit", lambda workspace, _: workspace.commit("draft"), 24),
    Verb("tag", lambda workspace, _: workspace.tag("data", {"year": "2014", "a": "b"}), 24),
    Verb("rm", lambda workspace, _: workspace.rm("data", all=True), 30, done=BundleNotFound),
    Verb("apply", _apply, 36, proof=_sum_is_right),
    Verb("get", _touch, 30, before=_pull_localized),
    Verb("context", lambda workspace, _: workspace.context("new"), 22, done=Conflict),
    Verb("gc", _sweep, 36, before=_forget, proof=_nothing_to_sweep),
    Verb(
        "context-delete",
        lambda workspace, _: workspace.delete_context("other", force=True),
        35,
        done=ContextNotFound,
    ),
)
"""Verbs that write to the store alone."""

REMOTE = (
    Verb("push", lambda workspace, _: workspace.push(), 36),
    Verb("push-huge", lambda workspace, _: workspace.push(), 20, before=_commit_huge),
    Verb("push-tags", lambda workspace, _: workspace.push("data"), 24, before=_tag_pushed),
    Verb("pull", lambda workspace, _: workspace.pull(), 34),
    Verb("pull-all", lambda workspace, _: workspace.pull(all_versions=True), 36),
    Verb(
        "rm-remote",
        lambda workspace, _: workspace.rm("data", all=True, remote=True),
        32,
        done=BundleNotFound,
    ),
    Verb(
        "gc-remote-condemns",
        lambda workspace, _: _collect(workspace, 30),
        25,
        before=_forget_everywhere,
    ),
    Verb(
        "gc-remote-deletes",
        lambda workspace, _: _collect(workspace, 60),
        17,
        before=_condemned,
        proof=_nothing_to_collect,
    ),
    Verb("localize", _pull_localized, 36, proof=_is_whole),
)
"""Verbs between a store and a remote."""
