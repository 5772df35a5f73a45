"""The source of a value's bytes: this disk, and whatever brings them to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bundlerun.bundles.link import Link
from bundlerun.bundles.storage import DirectoryEntry
from bundlerun.errors import BundleNotFound, IntegrityError
from bundlerun.store.objects import Objects

Fetch = Callable[[Sequence[Link]], None]
"""The function that brings the bytes of links into the store's objects."""


class StoreSource:
    """The Source of bundles.value.decode over a store.

    ``what`` names the bundle in messages.
    """

    def __init__(self, objects: Objects, what: str, fetch: Fetch | None) -> None:
        self._objects = objects
        self._what = what
        self._fetch = fetch
        self._ahead: list[Any] = []

    def read(self, link: Link) -> bytes:
        """The bytes of ``link``.

        Raises BundleNotFound when nobody brings them, IntegrityError.
        """
        found = self._objects.find(link)
        if found is not None:
            return found
        self.bring([link])
        return self._objects.read(link)

    def file(self, link: Link, name: str, executable: bool) -> Path:
        """A read-only file of that basename.

        Raises as ``read``; BadPath.
        """
        self._bring([link])
        return self._objects.localise(link, name, executable)

    def directory(
        self, root: Link, name: str, entries: Callable[[], Iterable[DirectoryEntry]]
    ) -> Path:
        """A folder of that basename, whole.

        Raises as ``read``; BadPath.
        """
        found = list(entries())
        self._bring([entry.link for entry in found if entry.link is not None])
        return self._objects.localised.directory(root, name, found)

    def map(self, link: Link) -> Path | None:
        """The file of a large object, None for a small one.

        Raises as ``read``.
        """
        self.bring([link])
        held = self._objects.held(link)
        return held if isinstance(held, Path) else None

    def bring(self, links: Sequence[Link]) -> None:
        """Bring those of ``links`` that are absent, and what was announced.

        Raises as ``read``.
        """
        if self._ahead and self._absent(links):
            self._bring_term(self._ahead.pop())
        self._bring(links)

    def ahead(self, term: Any) -> None:
        """Remember that all of ``term`` will be wanted.

        Nothing is looked up before some of it is found absent.
        """
        self._ahead = [term]

    def _bring_term(self, term: Any) -> None:
        from bundlerun.bundles.value.select import pick_term

        while True:
            found = pick_term(term, self._objects.find)
            if not found.absent:
                break
            self._bring(list(found.absent.values()))
        self._bring(list(found.links.values()))

    def _bring(self, links: Sequence[Link]) -> None:
        absent = self._absent(links)
        if not absent:
            return
        if self._fetch is None:
            raise BundleNotFound(
                f"{len(absent)} objects of {self._what} are not on this disk",
                hint=f"bundlerun pull {self._what} --localize",
            )
        self._fetch(absent)
        still = self._absent(absent)
        if still:
            raise IntegrityError(
                f"{len(still)} objects of {self._what} were not brought: {still[0].digest}"
            )

    def _absent(self, links: Sequence[Link]) -> list[Link]:
        missing = self._objects.missing(link.digest for link in links)
        return list(dict.fromkeys(link for link in links if link.digest in missing))
