"""Check of tables with whole bytes that cannot be read.

They were kept before tables were read back. No copy helps, for every copy has the same bytes; what
helps is another version, or the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.value import tables
from bundlerun.bundles.value.walk import MaybeRead, parts
from bundlerun.errors import IntegrityError
from bundlerun.store.fsck.bundles import User
from bundlerun.store.reports import Fault, Finding, Kind
from bundlerun.store.store import Store

_MOST_VERSIONS = 100
"""Versions of a name that are looked through for one that can be read."""

FROM_SOURCE = "add it again from its source"


class TablesProof:
    """A check of every table on this disk.

    ``unreadable`` has those that Arrow refuses, with its message.
    """

    def __init__(self, store: Store, users: Mapping[Digest, tuple[Link, User]]) -> None:
        self._store = store
        self._tables = users
        self.unreadable: dict[Digest, str] = {}

    def scan(self) -> None:
        """Read every table as a reader would; without a copy where it is a file."""
        for digest, (link, _) in self._tables.items():
            reason = tables.unreadable(self._store.objects.held(link))
            if reason is not None:
                self.unreadable[digest] = reason

    def faults(self) -> Iterator[Fault]:
        """A fault for each table that cannot be read."""
        for digest, reason in self.unreadable.items():
            _, user = self._tables[digest]
            same = ""
            if user.pushed and user.context.remote_url:
                same = f"; {user.context.remote_url} has the same bytes"
            detail = f"{reason}; {user.label} needs it{same}; {self._instead(user)}"
            yield Fault(Finding(Kind.DAMAGED, f"table {digest}", "its columns", detail))

    def _instead(self, user: User) -> str:
        """The replacement: the newest other version whose tables can be read."""
        context, name = user.context, user.bundle.name
        versions = self._store.catalog.search(context, name=name, committed=True)
        others = [entry for entry in versions if entry.bundle.id != user.bundle.id]
        for entry in others[:_MOST_VERSIONS]:
            state = state_of(entry.bundle.root, self._read, self.unreadable, self._absent)
            label = f"{name}@{entry.bundle.id}"
            if state is True:
                return f"{label} can be read: bundlerun cat {label}; else {FROM_SOURCE}"
            if state is None and entry.pushed:
                how = f"bundlerun pull {name} --all-versions --localize"
                where = context.remote_url or "its remote"
                return f"{label} lies on {where} alone: {how}; else {FROM_SOURCE}"
        return f"no other version of {name!r} can be read: {FROM_SOURCE}"

    def _read(self, link: Link) -> bytes | None:
        return self._store.objects.find(link)

    def _absent(self, links: Iterable[Link]) -> bool:
        return bool(self._store.objects.missing(link.digest for link in links))


def state_of(
    root: Link,
    read: MaybeRead,
    unreadable: Mapping[Digest, object],
    absent: Callable[[Iterable[Link]], bool],
) -> bool | None:
    """Whether all tables of a value can be read.

    None where some of them are not on this disk, False also where the value itself is damaged.
    """
    try:
        found = list(parts(root, read))
    except IntegrityError:
        return False
    if any(part.is_table and part.link.digest in unreadable for part in found):
        return False
    return None if absent(part.link for part in found) else True
