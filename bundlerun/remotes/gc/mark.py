"""Mark phase of a remote: what it holds, and what of it is used.

Live is what a bundle record uses that is not given up. A record is given up once every version that
names it was removed; one without a version (an array child, a push under way) is not. Reading stops
at a record that cannot be read: nothing is deleted on the strength of half a picture.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from bundlerun.bundles.record import is_id
from bundlerun.remotes.base import KeyInfo, Remote
from bundlerun.remotes.keys import (
    RUN_INDEX,
    VersionInfo,
    bundle_key,
    listed_run,
    version_infos,
    version_key,
)
from bundlerun.remotes.records import PushedBundle, VersionRecord, read_record, twice

READERS = 16

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Inventory:
    """A remote as it was found.

    ``packs``, ``reuse`` (``k/``) and ``runs`` (``runs/``, ``r/``) were listed before the records
    were, so that whatever the records name and the lists lack is newer than the lists.
    """

    packs: dict[str, KeyInfo] = field(default_factory=dict)
    reuse: list[KeyInfo] = field(default_factory=list)
    runs: dict[str, list[KeyInfo]] = field(default_factory=dict)
    records: dict[str, KeyInfo] = field(default_factory=dict)
    given_up: dict[str, float] = field(default_factory=dict)
    """Bundle ids, and when they were given up, by the remote's clock."""
    live: dict[str, int] = field(default_factory=dict)
    """The packs in use, and how many of their bytes at least, index included."""


def take_inventory(remote: Remote) -> Inventory:
    """List all of a remote but the history of ``meta/``, and read its bundle records.

    Records that do not count are not read. Requests: one a 1,000 keys, one a bundle record, and one
    a removed version. Raises IntegrityError for a damaged record, RemoteErrors.
    """
    picture = Inventory()
    picture.reuse = list(remote.list("k/"))
    runs = defaultdict(list)
    # First what lists a run: a clean-up that dies between leaves none that is listed and gone.
    for entry in remote.list(RUN_INDEX):
        listed = listed_run(entry.key)
        if listed:
            runs[listed[0]].append(entry)
    for entry in remote.list("runs/"):
        runs[entry.key.split("/")[1]].append(entry)
    picture.runs = dict(runs)
    picture.packs = {e.key.removeprefix("packs/"): e for e in remote.list("packs/")}
    versions = list(version_infos(remote))
    for entry in remote.list("b/"):
        id = entry.key.removeprefix("b/")
        if is_id(id):
            picture.records[id] = entry
    picture.given_up = _given_up(remote, versions, picture.records)
    _mark(remote, picture)
    return picture


def in_parallel(act: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``act`` on each item, READERS at a time; the results in their order."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(act, items))


def _given_up(
    remote: Remote, versions: Sequence[VersionInfo], records: Mapping[str, KeyInfo]
) -> dict[str, float]:
    """The records that are given up, and since when."""
    removed = [standing for standing in versions if standing.removed]
    found: dict[str, float] = {}
    names: set[str] = set()
    ids = in_parallel(lambda standing: _id_of(remote, standing), removed)
    for standing, id in zip(removed, ids, strict=True):
        if id in records:
            found[id] = max(found.get(id, -math.inf), standing.removed_s)
            names.add(standing.name)
    # A retried job may have made a version anew of what was removed.
    kept = [s for s in versions if not s.removed and s.name in names]
    for id in in_parallel(lambda standing: _id_of(remote, standing), kept):
        found.pop(id, None)
    return found


def _id_of(remote: Remote, standing: VersionInfo) -> str:
    """The bundle of a version; "" where there is a mark of its removal and no version."""

    def read() -> str:
        data = read_record(remote, version_key(standing.name, standing.n))
        return "" if data is None else VersionRecord.from_bytes(data, standing.name, standing.n).id

    return twice(read)


def _mark(remote: Remote, picture: Inventory) -> None:
    def shares(id: str) -> list[tuple[str, int]]:
        return twice(lambda: shares_of(id))

    def shares_of(id: str) -> list[tuple[str, int]]:
        data = read_record(remote, bundle_key(id))
        if data is None:
            return []  # another clean-up took it
        record = PushedBundle.from_bytes(data, id)
        return [(s.pack.uuid, s.used + s.pack.index_length) for s in record.shares]

    live = [id for id in picture.records if id not in picture.given_up]
    for found in in_parallel(shares, live):
        for pack, used in found:
            picture.live[pack] = max(picture.live.get(pack, 0), used)
