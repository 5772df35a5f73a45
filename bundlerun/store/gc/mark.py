"""Mark phase: the bytes of a store reachable from any bundle of any context."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bundlerun.bundles.link import Link
from bundlerun.bundles.value import links
from bundlerun.bundles.value.files import directory_root
from bundlerun.errors import IntegrityError
from bundlerun.store.database import Database
from bundlerun.store.objects import Objects


class Live:
    """Raw digests in use.

    It only grows: what is removed meanwhile counts as used. Memory: about 100 bytes a digest. A
    node that several values share is walked once.
    """

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database = database
        self._objects = objects
        self._roots: set[bytes] = set()
        self._walked: set[bytes] = set()
        self._digests: set[bytes] = set()
        self._folders: set[str] = set()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def names(self, text: str) -> bool:
        """Whether ``text`` is the digest of an object in use, or of a Directory's entries."""
        return text in self._folders or bytes.fromhex(text) in self._digests

    def look(self) -> None:
        """Add what is reached from the bundles that are there now.

        Raises IntegrityError for a record or a node that is damaged: below it nothing is known.
        """
        for root in self._new_roots():
            try:
                for link, _ in links(root, self._node):
                    self._digests.add(bytes.fromhex(link.digest))
            except IntegrityError as error:
                raise IntegrityError(
                    f"{error.message}; nothing was deleted, for what it uses cannot be told",
                    hint="bundlerun fsck --repair",
                ) from error

    def _new_roots(self) -> Iterator[Link]:
        last = 0
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(
                    "SELECT seq, record FROM bundles WHERE seq > ? ORDER BY seq LIMIT 1000", (last,)
                ).fetchall()
            for last, record in rows:  # noqa: B007
                root = _root_of(record)
                raw = bytes.fromhex(root.digest)
                if raw not in self._roots:
                    self._roots.add(raw)
                    yield root
            if not rows:
                return

    def _node(self, link: Link) -> bytes | None:
        raw = bytes.fromhex(link.digest)
        if raw in self._walked:
            return None
        data = self._objects.find(link)
        if data is not None:
            self._walked.add(raw)
            if b'"directory"' in data:
                self._note_folders(data)
        return data

    def _note_folders(self, data: bytes) -> None:
        """Note the digests of folders' entries, under which folders are checked out."""
        try:
            stack: list[Any] = [json.loads(data)]
        except (ValueError, RecursionError):
            return  # the walk of the node says so
        while stack:
            found = stack.pop()
            if isinstance(found, dict):
                if "directory" in found:
                    self._folders.add(directory_root(found["directory"]).digest)
                stack.extend(found.values())
            elif isinstance(found, list):
                stack.extend(found)


def _root_of(record: bytes) -> Link:
    try:
        return Link.from_json(json.loads(record)["root"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            "a bundle's record is damaged; nothing was deleted, for what it uses cannot be told",
            hint="bundlerun fsck --repair",
        ) from error
