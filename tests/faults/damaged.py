"""A remote to be damaged, and stores that read it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import LARGE_BYTES
from bundlerun.bundles.value.files import File
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.keys import version_key
from bundlerun.remotes.push import push
from bundlerun.remotes.records import VersionRecord
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

Client = tuple[Store, Context, Remote]

GOOD = {"good": list(range(500))}
"""The value of the name that is never damaged."""


class opened:
    """A store of its own, bound to the remote."""

    def __init__(self, path: Path, remote: Remote) -> None:
        self.store = Store.open(path)
        contexts = self.store.contexts
        known = [context for context in contexts.list() if context.name == "work"]
        self.context = known[0] if known else bind(self.store, contexts.create("work"), remote)
        self.client: Client = (self.store, self.context, remote)

    def __enter__(self) -> Client:
        return self.client

    def __exit__(self, *args: object) -> None:
        self.store.close()


def fill(remote: Remote, folder: Path, *, large: bool = True) -> dict[str, object]:
    """Push two names: "good", and "bad" with two versions, tags set later, many nodes and, unless
    told otherwise, a large file; the value of its newest version."""
    with opened(folder / "writer", remote) as (store, context, _):
        push(Binding.of(store, context, remote), [store.add(context, "good", GOOD, commit=True)])
        old = store.add(context, "bad", {"version": 1}, commit=True)
        push(Binding.of(store, context, remote), [old])
        value: dict[str, object] = {"parts": [os.urandom(3000) for _ in range(40)]}
        if large:
            path = folder / "large"
            path.write_bytes(os.urandom(2 * LARGE_BYTES + 1000))
            value["large"] = File(path)
        bad = store.add(context, "bad", value, tags={"a": "b"}, commit=True)
        push(Binding.of(store, context, remote), [bad])
        for entry, tags in ((bad, {"later": "tag"}), (old, {"older": "tag"})):
            store.catalog.tag(context, entry.bundle.id, tags)
            push(Binding.of(store, context, remote), [entry])
    return value


def replaced(remote: Remote, key: str, data: bytes | None) -> None:
    """The object as the damage left it."""
    remote.delete([key])
    if data is not None:
        remote.put(key, data)


def held(store: Store) -> set[Digest]:
    """What the store holds, each object read and hashed."""
    with sqlite3.connect(store.path / "store.sqlite") as connection:
        rows = connection.execute("SELECT digest, size FROM objects").fetchall()
    found = set()
    for raw, size in rows:
        digest = Digest(raw.hex())
        assert digest_of(store.objects.read(Link(digest, size))) == digest
        found.add(digest)
    assert not list((store.path / "objects" / "tmp").iterdir())
    return found


def id_of(remote: Remote, name: str, n: int = 1) -> str:
    """The id that version ``n`` names."""
    return VersionRecord.from_bytes(remote.get(version_key(name, n)) or b"", name, n).id
