"""The workspace inside of a pipe, for ``bundlerun.get``, ``apply`` and others.

A pipe sees its inputs, its dependencies and what it made itself, wherever it runs: anything else
would be an input that stands in no key. What it makes becomes an ancestor of its output, and stays
only if the outermost pipe ends well.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bundlerun.bundles.lineage import Parent, ReuseKey
from bundlerun.bundles.record import new_id
from bundlerun.pipelines.targets import Targets
from bundlerun.progress import Progress
from bundlerun.store.visibility import Visibility

if TYPE_CHECKING:
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.pipelines.luigid import Luigid
    from bundlerun.store.rows import Entry

ROLE = "inner"
"""The role of the parents that a pipe made while it ran: ``inner:NAME``."""

_PRESENT: contextvars.ContextVar[Inner | None] = contextvars.ContextVar("inner", default=None)
_RUNNING: list[Inner] = []
_ALONE: list[bool] = []


class Inner(Targets):
    """The workspace of one run of a pipe, within that of the apply that runs it.

    What pipes say here goes to ``progress``.
    """

    def __init__(self, outer: Targets, visibility: Visibility, progress: Progress) -> None:
        super().__init__(outer.store.seen_from(visibility), outer.context, fetch=outer.fetch)
        self.path = visibility.path
        self.progress = progress
        # Set by the session. Its module imports luigi, and this one is imported by every verb.
        self.luigid: Luigid | None = None
        self._outer = outer
        self._visibility = visibility

    def find(self, task: ReuseKey) -> Entry | None:
        """The entry of equal work, looked for everywhere.

        Equal work stands for no name; the pipe sees it once it has gone into something
        (``finished``), not what had another name.
        """
        return super().find(task) or self._outer.find(task)

    def commit(self, entry: Entry) -> Entry:
        """See Targets."""
        return self._outer.commit(entry)

    def finished(self, entry: Entry) -> None:
        """Let the pipe see an entry that it did not make itself.

        Nothing is sent anywhere before the outermost pipe has ended.
        """
        if entry.bundle.id not in {each.bundle.id for each in self._made()}:
            self._visibility.see(entry.bundle.id)

    def parents(self) -> list[Parent]:
        """The parents of the pipe's output that were made or found here.

        What only went into something else of it is left out.
        """
        made = self._made()
        found = (self.by_id(id) for id in self._visibility.found)
        entries = [*made, *(entry for entry in found if entry is not None)]
        inside = {parent.id for entry in entries for parent in entry.bundle.lineage.parents}
        return [
            Parent(f"{ROLE}:{b.name}", b.name, b.id, b.root.digest)
            for b in (entry.bundle for entry in entries)
            if b.id not in inside
        ]

    def keep(self, *, commit: bool) -> None:
        """Keep what the pipe made, once it ended well.

        ``commit`` commits it. Within another pipe it belongs to that one from then on.
        """
        catalog, into = self._outer.store.catalog, self._outer.path
        catalog.keep_inner(self.context, self.path, into, commit=commit)

    def forget(self) -> None:
        """The pipe failed: forget what it made."""
        self._outer.store.catalog.drop_inner(self.context, self.path)

    def _made(self) -> Sequence[Entry]:
        return self.store.catalog.inner(self.context, self._visibility)


def inner_of(
    outer: Targets, token: str, pipe: str, given: Sequence[BundleRecord], progress: Progress
) -> Inner:
    """The workspace of a run of ``pipe``, ``given`` these, in the apply ``token``."""
    path = f"{outer.path}{token}/{new_id()}/"
    return Inner(outer, Visibility(path, pipe, frozenset(each.id for each in given)), progress)


@contextmanager
def inside(inner: Inner) -> Iterator[None]:
    """Verbs of this thread act on ``inner`` meanwhile."""
    token = _PRESENT.set(inner)
    _RUNNING.append(inner)
    try:
        yield
    finally:
        _RUNNING.remove(inner)
        _PRESENT.reset(token)


def present() -> Inner | None:
    """The workspace of the pipe that calls; None outside of any pipe."""
    found = _PRESENT.get()
    if found is None and _ALONE and _RUNNING:
        # A thread of the pipe's own, in a process that does nothing but run pipes.
        return _RUNNING[-1]
    return found


def alone() -> None:
    """Declare that this process, a child or a container's, only runs pipes.

    So all its threads are theirs.
    """
    _ALONE[:] = [True]
    _RUNNING.clear()
