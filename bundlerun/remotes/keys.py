"""The keys of a remote: the places of records and packs, and listed versions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.record import (
    checked_name,
)
from bundlerun.bundles.record import key_name as name_part
from bundlerun.errors import BadName
from bundlerun.remotes.base import KeyInfo, Remote

META = "meta/"


RUN_INDEX = "r/"


MAX_VERSION = 9_999_999_998


_PAGE = 16


"""Keys a request when the newest version is looked for: it is usually the first."""


_LAST_MS = 9_999_999_999_999


_RUN_INDEX_KEY = re.compile(r"r/\d{13}-([^./]+)\.([^./]+)")


_VERSION_KEY = re.compile(r"v/([^/]+)/(\d{10})(?:\+(x)|\+t(\d{6}))?")


_CALL_FUNCTION = re.compile(r"runs/[^/]+/f")
_CALL_PACK = re.compile(r"runs/[^/]+/p/([^/]+)")


@dataclass(frozen=True)
class CallPacks:
    """Which packs the files of calls use, that no bundle record names.

    Those of items are ``named``, by their uuids; those of results are younger than the calls, of
    which the oldest was begun at ``since_s``, by the remote's clock.
    """

    named: frozenset[str] = frozenset()
    since_s: float = math.inf

    @staticmethod
    def of(entries: Iterable[KeyInfo]) -> CallPacks:
        """What calls use, by the listed keys of runs."""
        by_run: dict[str, list[KeyInfo]] = {}
        for entry in entries:
            by_run.setdefault(entry.key.split("/")[1], []).append(entry)
        named: set[str] = set()
        since_s = math.inf
        for run in by_run.values():
            if any(_CALL_FUNCTION.fullmatch(entry.key) for entry in run):
                since_s = min(since_s, *(entry.modified_s for entry in run))
                found = (_CALL_PACK.fullmatch(entry.key) for entry in run)
                named |= {match[1] for match in found if match}
        return CallPacks(frozenset(named), since_s)

    def has(self, pack: KeyInfo) -> bool:
        """Whether a call uses a listed pack, or may use it."""
        uuid = pack.key.removeprefix("packs/")
        return uuid in self.named or pack.modified_s >= self.since_s


@dataclass(frozen=True)
class VersionInfo:
    """A version by its listing: how often it was tagged, and whether it is removed."""

    name: str
    n: int
    tags: int
    removed: bool
    removed_s: float = math.inf
    """The time of its removal, by the remote's clock."""


def version_infos(remote: Remote, name: str | None = None) -> Iterator[VersionInfo]:
    """The versions of ``name``, or of all names (None), newest first; lazily.

    A request a page. Keys of no known form are passed over.
    """
    prefix = "v/" if name is None else f"v/{name_part(name)}/"
    last = ""
    limit = 1000 if name is None else _PAGE
    current: VersionInfo | None = None
    while True:
        page = list(remote.list(prefix, after=last, limit=limit))
        for entry in page:
            last = entry.key
            found = version_info(entry)
            if found is None:
                continue
            if current and (current.name, current.n) == (found.name, found.n):
                current = VersionInfo(
                    found.name,
                    found.n,
                    max(current.tags, found.tags),
                    current.removed or found.removed,
                    min(current.removed_s, found.removed_s),
                )
                continue
            if current:
                yield current
            current = found
        if len(page) < limit:
            break
    if current:
        yield current


def run_index_key(run: str, made_ms: int, mark: str) -> str:
    """The key that lists a run made at ``made_ms``, Unix milliseconds.

    ``mark`` is what the listing is to tell of it.
    """
    return f"{RUN_INDEX}{_LAST_MS - made_ms:013d}-{run}.{mark}"


def listed_run(key: str) -> tuple[str, str] | None:
    """The run and the mark of a key that ``run_index_key`` gave; None for any other."""
    match = _RUN_INDEX_KEY.fullmatch(key)
    return None if match is None else (match[1], match[2])


def bundle_key(id: str) -> str:
    """The key of the record of bundle ``id``."""
    return f"b/{id}"


def pack_key(pack: str) -> str:
    """The key of a pack."""
    return f"packs/{pack}"


def version_key(name: str, n: int) -> str:
    """The key of version ``n`` of ``name``."""
    return f"v/{name_part(name)}/{MAX_VERSION + 1 - n:010}"


def tags_key(name: str, n: int, k: int) -> str:
    """The key of the ``k``-th setting of tags on a version."""
    return f"{version_key(name, n)}+t{k:06}"


def removed_key(name: str, n: int) -> str:
    """The key that says that a version was removed."""
    return f"{version_key(name, n)}+x"


def reuse_key(key: Digest, id: str) -> str:
    """The key that says that bundle ``id`` came of the work ``key``."""
    return f"k/{key}/{id}"


def version_info(entry: KeyInfo) -> VersionInfo | None:
    """The version by one listed key below ``v/``; None for a key of no known form."""
    match = _VERSION_KEY.fullmatch(entry.key)
    if match is None:
        return None
    part, digits, removed, tags = match.groups()
    n = MAX_VERSION + 1 - int(digits)
    try:
        name = checked_name(unquote(part, errors="strict"))
    except (BadName, UnicodeDecodeError):
        return None
    if n < 1 or name_part(name) != part:
        return None
    removed_s = entry.modified_s if removed else math.inf
    return VersionInfo(name, n, int(tags or 0), bool(removed), removed_s)
