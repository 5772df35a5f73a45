"""Which objects go together into a pack of a remote. ``store.packing`` has the format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bundlerun.bundles.links import PART_BYTES, Link
from bundlerun.store.packing import (
    MAX_OBJECT_BYTES,
    MAX_PACK_BYTES,
    ROW,
    TRAILER,
    check_claims,
    is_single,
    laid_out,
    members_of,
)

__all__ = [
    "LARGE_BYTES",
    "MAX_OBJECT_BYTES",
    "MAX_PACK_BYTES",
    "check_claims",
    "groups_of",
    "is_single",
    "laid_out",
    "members_of",
]

LARGE_BYTES = PART_BYTES
"""An object over this goes alone, in parts."""


def groups_of(links: Iterable[Link]) -> Iterator[list[Link]]:
    """``links`` in their order, in lists that make one pack each."""
    group: list[Link] = []
    size = TRAILER.size
    for link in links:
        if link.size > LARGE_BYTES:
            yield [link]
            continue
        if group and size + link.size + ROW.size > MAX_PACK_BYTES:
            yield group
            group, size = [], TRAILER.size
        group.append(link)
        size += link.size + ROW.size
    if group:
        yield group
