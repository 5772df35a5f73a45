"""Two machines and a remote: made once, copied for each kill, and looked over after it."""

from __future__ import annotations

import random
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundlerun.api.workspace import Workspace
from bundlerun.aws.session import Aws
from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.value import links as links_of
from bundlerun.bundles.value.files import Directory, File
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.keys import version_infos
from bundlerun.remotes.pull import pull_all
from bundlerun.remotes.s3 import S3Remote
from bundlerun.settings import Settings
from bundlerun.store import database
from bundlerun.store.store import Store

NAMES = ("raw", "data", "theirs")
"""The names that the remote has versions of before any verb."""

LARGE = 300_000
"""Bytes of a file that is a file in the store too."""


@dataclass(frozen=True)
class Row:
    """A bundle as one machine sees it."""

    context: str
    name: str
    id: str
    root: str
    committed: bool
    version: int | None
    pushed: bool
    tags: tuple[tuple[str, str], ...]

    @property
    def anonymous(self) -> tuple[object, ...]:
        """All but the id, which a second attempt makes anew."""
        return (self.context, self.name, self.root, self.committed, self.version, self.tags)


class S3Place:
    """A bucket, and two identities: one that only children use, so that no two processes share a
    connection."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self._ours, self._childrens = Aws(), Aws()
        self._childrens.client("s3")

    def remote(self, prefix: str, *, in_child: bool) -> Remote:
        """The remote below ``prefix``."""
        return S3Remote(f"s3://{self.bucket}/{prefix}", self._childrens if in_child else self._ours)


class World:
    """A folder with the store ``mine``, an empty store ``reader`` of another machine, and a remote,
    in the folder or in a bucket."""

    def __init__(self, folder: Path, s3: S3Place | None = None, prefix: str = "") -> None:
        self.folder = folder
        self._s3 = s3
        self._prefix = prefix

    def remote(self, *, in_child: bool = False) -> Remote:
        """The remote."""
        if self._s3 is not None:
            return self._s3.remote(self._prefix, in_child=in_child)
        return FileRemote(f"file://{self.folder}/remote")

    def workspace(self, *, in_child: bool = False, remote: Remote | None = None) -> Workspace:
        """The verbs, on the store ``mine``."""
        settings = Settings(home=self.folder / "home", store=self.folder / "mine")
        workspace = Workspace(settings, context="work")
        # The store remembers where the remote stood when it was bound: here is a copy of it.
        for context in workspace.scope.store.contexts.list():
            if context.remote_url is not None:
                workspace.scope._remotes[context.remote_url] = remote or self.remote(
                    in_child=in_child
                )
        return workspace

    def copy(self, folder: Path, s3: S3Place | None = None) -> World:
        """The same in another folder; with ``s3`` the remote goes to a bucket."""
        for name in ("mine", "reader"):
            shutil.copytree(self.folder / name, folder / name, symlinks=True)
        if s3 is None:
            shutil.copytree(self.folder / "remote", folder / "remote", symlinks=True)
            return World(folder)
        made = World(folder, s3, uuid.uuid4().hex)
        remote, mine = made.remote(), self.remote()
        for entry in mine.list(""):
            remote.put(entry.key, mine.get(entry.key) or b"")
        return made

    def rows(self) -> list[Row]:
        """The bundles of the store, after it was found whole: SQLite's own check, and every object
        of every bundle of this machine there and what its digest says."""
        path = self.folder / "mine"
        store = Store.open(path)
        try:
            rows = [row for row, _ in _rows(store)]
            for row, root in _rows(store):
                present = _present(store, root)
                absent = store.absent(root)
                if row.name != "theirs":
                    assert absent == [], f"{row} lacks {absent}"
                for link, data in store.objects.many(present):
                    assert digest_of(data) == link.digest, f"{row} has other bytes"
        finally:
            store.close()
        connection = sqlite3.connect(path / database.FILE)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
        return rows

    def versions(self) -> set[tuple[str, int, str]]:
        """Name, number and root of every version on the remote, after all of them were found whole
        by a machine that has nothing: records, packs, and no hole in the numbers."""
        reader = self.folder / f"reader-{uuid.uuid4().hex}"
        shutil.copytree(self.folder / "reader", reader)
        store = Store.open(reader)
        try:
            remote, context = self.remote(), store.contexts.get("work")
            entries = pull_all(Binding.of(store, context, remote), all_versions=True)
            localise(store, remote, [entry.bundle for entry in entries])
            for entry in entries:
                assert store.absent(entry.bundle.root) == []
            found = {(e.bundle.name, e.version or 0, str(e.bundle.root.digest)) for e in entries}
            numbers: dict[str, list[int]] = {}
            for standing in version_infos(remote):
                numbers.setdefault(standing.name, []).append(standing.n)
        finally:
            store.close()
            shutil.rmtree(reader)
        for name, found_numbers in numbers.items():
            assert found_numbers == list(range(len(found_numbers), 0, -1)), name
        return found


def _rows(store: Store) -> Iterator[tuple[Row, Any]]:
    for context in store.contexts.list():
        for entry in store.catalog.search(context):
            bundle = entry.bundle
            yield (
                Row(
                    context.name,
                    bundle.name,
                    bundle.id,
                    str(bundle.root.digest),
                    entry.committed,
                    entry.version,
                    entry.pushed,
                    tuple(sorted(bundle.tags.items())),
                ),
                bundle.root,
            )


def _present(store: Store, root: Any) -> list[Any]:
    every = {link.digest: link for link, _ in links_of(root, store.objects.find)}
    missing = store.objects.missing(every)
    return [link for digest, link in every.items() if digest not in missing]


def made_scene(folder: Path) -> World:
    """The world that every verb starts from.

    mine: ``raw`` 1 and ``data`` 1 are pushed, a second ``data`` is committed and not pushed,
    ``draft`` is not committed; a context ``other`` has two bundles. The remote has two versions of
    ``theirs`` that mine has never seen.
    """
    source = folder / "source"
    _write_sources(source)
    world = World(folder)
    url = f"file://{folder}/remote"
    mine = Workspace(Settings(home=folder / "home", store=folder / "mine"), context="work")
    theirs = Workspace(Settings(home=folder / "home", store=folder / "theirs"), context="work")
    reader = Workspace(Settings(home=folder / "home", store=folder / "reader"), context="work")
    for workspace in (mine, theirs, reader):
        workspace.context("work")
        workspace.remote("work", url)
    theirs.add("theirs", {"folder": Directory(source / "one"), "n": 1}, commit=True)
    theirs.add("theirs", {"folder": Directory(source / "two"), "n": 2}, commit=True)
    theirs.push()
    mine.add("raw", {"rows": [3, 1, 2, 8]}, commit=True)
    mine.add("data", value(source, "one", "first"), commit=True, tags={"year": "2013"})
    mine.push()
    mine.add("data", value(source, "two", "second"), commit=True)
    mine.add("draft", {"file": File(source / "second"), "n": None})
    mine.context("other")
    other = Workspace(mine.scope.settings, context="other")
    other.add("data", {"file": File(source / "first")}, commit=True)
    other.add("data", {"n": 1})
    for workspace in (mine, theirs, reader, other):
        workspace.close()
    shutil.rmtree(folder / "theirs")
    return world


def value(source: Path, folder: str, large: str) -> dict[str, Any]:
    """A value with a folder, a file that is a file in the store too, and a long text."""
    return {
        "folder": Directory(source / folder),
        "large": File(source / large),
        "text": large * 2000,
        "none": None,
    }


def _write_sources(source: Path) -> None:
    chance = random.Random(20131117)
    for folder in ("one", "two", "three"):
        (source / folder / "deep").mkdir(parents=True)
        for name in ("a.txt", "b.txt", "deep/c.txt"):
            (source / folder / name).write_bytes(chance.randbytes(4000))
        (source / folder / "same.txt").write_bytes(b"same" * 500)
        (source / folder / "large.bin").write_bytes(chance.randbytes(LARGE))
    for name in ("first", "second", "third"):
        (source / name).write_bytes(chance.randbytes(LARGE))
    (source / "huge").write_bytes(chance.randbytes(9 << 20))
