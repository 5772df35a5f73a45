"""From this store to a remote: packs, then the bundles' records, then their versions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bundlerun.bundles.bundle import Bundle
from bundlerun.bundles.digest import Digest
from bundlerun.bundles.lineage import ReuseKey
from bundlerun.bundles.links import Link
from bundlerun.bundles.manifest import links as links_of
from bundlerun.errors import IntegrityError, NotCommitted
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import WINDOW_S, bound_uuid, check_remote
from bundlerun.remotes.fetching import Fetcher
from bundlerun.remotes.records import BundleRecord, reuse_key
from bundlerun.remotes.sending import SentPack, send
from bundlerun.remotes.settling import settle_bundle, settle_version
from bundlerun.remotes.tagging import send_tags
from bundlerun.store.contexts import Context
from bundlerun.store.entries import Entry
from bundlerun.store.known import Location, Share
from bundlerun.store.store import Store

MAX_THIN_PACKS = 16
"""A version that would lie in more thin packs than this has those bytes sent anew as one."""

THIN_BYTES = 1 << 20
"""A pack is thin for a version that has less than this in it."""


@dataclass(frozen=True)
class PushReport:
    """What a push did: the bundles that are versions on the remote now and were not before, in the
    order they were written, and how much went: objects, their bytes, and packs."""

    bundles: tuple[Bundle, ...]
    objects: int
    bytes: int
    packs: int


def push(
    store: Store,
    context: Context,
    remote: Remote,
    entries: Sequence[Entry],
    *,
    progress: Progress = SILENT,
) -> PushReport:
    """Send ``entries`` and what must stand before them: their committed ancestors, and older
    committed versions of each name. What is on the remote already costs nothing.

    Requests: 1; a pack more where objects are new, and 2 a bundle. A version is there whole or not
    at all; a push that broke off is taken up by the next. Raises NoRemote, NotCommitted,
    RemoteChanged and the other RemoteErrors, BundleNotFound for bytes that are neither here nor
    there, IntegrityError.
    """
    uuid = bound_uuid(context)
    ordered = in_order(store, context, entries)
    check_remote(remote, uuid)
    listed_s = time.monotonic()
    missing, digests = _missing(store, remote, uuid, ordered)
    sent = send(store, remote, uuid, missing, progress)
    bar = progress.start("writing versions", len(ordered), "bundles")
    written = []
    for entry in ordered:
        if time.monotonic() - listed_s > WINDOW_S:
            # Packs that were found unused meanwhile may be gone soon: ask before building on them.
            check_remote(remote, uuid)
            listed_s = time.monotonic()
        shares = _shares(store, uuid, entry.bundle, digests.get(entry.bundle.root.digest))
        written.append(_write(store, context, remote, entry, shares))
        progress.advance(bar, 1)
    progress.finish(bar)
    for id in {entry.bundle.id: None for entry in entries}:
        send_tags(store, context, remote, id)
    return _report(written, sent)


def find_reuse(remote: Remote, key: ReuseKey) -> str | None:
    """The id of the newest bundle on the remote that came of the work ``key``, or None."""
    prefix = reuse_key(key.digest, "")
    ids = [entry.key.removeprefix(prefix) for entry in remote.list(prefix)]
    # Ids begin with their time, so the last of them in order is the newest.
    return max(ids, default=None)


def in_order(store: Store, context: Context, entries: Sequence[Entry]) -> list[Entry]:
    """The unpushed ones of ``entries`` and what must go first, in an order in which they can go.

    Raises NotCommitted when one of ``entries`` is not committed.
    """
    # As they are now: the caller may have looked them up before an earlier push.
    entries = [store.catalog.by_id(context, entry.bundle.id) or entry for entry in entries]
    for entry in entries:
        if not entry.committed:
            raise NotCommitted(
                f"{entry.bundle.name}@{entry.bundle.id} is not committed, and only committed"
                " bundles leave this machine",
                hint=f"bundlerun commit {entry.bundle.name}",
            )
    ordered: list[Entry] = []
    seen: set[str] = set()
    stack: list[tuple[Entry, Iterator[Entry]]] = []

    def enter(entry: Entry) -> None:
        if entry.bundle.id not in seen and not entry.pushed:
            seen.add(entry.bundle.id)
            stack.append((entry, _before(store, context, entry)))

    # No recursion: a chain of a thousand pipes is a chain of a thousand ancestors.
    for entry in entries:
        enter(entry)
        while stack:
            current, before = stack[-1]
            first = next(before, None)
            if first is None:
                ordered.append(current)
                stack.pop()
            else:
                enter(first)
    return ordered


def _before(store: Store, context: Context, entry: Entry) -> Iterator[Entry]:
    for older in store.catalog.unpushed(context, entry.bundle.name):
        if older.bundle.id == entry.bundle.id:
            break
        yield older
    for parent in entry.bundle.lineage.parents:
        found = store.catalog.by_id(context, parent.id)
        if found is not None and found.committed:
            yield found


def _missing(
    store: Store, remote: Remote, uuid: str, ordered: Sequence[Entry]
) -> tuple[list[Link], dict[Digest, list[Digest]]]:
    """What the remote lacks of these bundles, and by root the objects of each value that has to be
    walked; the others' packs are known as a whole."""
    missing: dict[Digest, Link] = {}
    digests: dict[Digest, list[Digest]] = {}
    for entry in ordered:
        root = entry.bundle.root
        if root.digest in digests or store.known.expected(uuid, root.digest) is not None:
            continue
        fetcher = Fetcher(store, remote, uuid, _what(entry.bundle))
        links = {link.digest: link for link, _ in links_of(root, fetcher.read)}
        located = store.known.packs_of(uuid, links)
        thin = _thin(located)
        absent = store.objects.missing(thin) if thin else set()
        for digest, link in links.items():
            if digest not in located or (digest in thin and digest not in absent):
                missing.setdefault(digest, link)
        digests[root.digest] = list(links)
    return list(missing.values()), digests


def _thin(located: Mapping[Digest, Location]) -> set[Digest]:
    """The objects in thin packs, where these are so many that a pull would suffer."""
    used: Counter[str] = Counter()
    for location in located.values():
        used[location.pack] += location.length
    thin = {pack for pack, live in used.items() if live < THIN_BYTES}
    if len(thin) < MAX_THIN_PACKS:
        return set()
    return {digest for digest, location in located.items() if location.pack in thin}


def _shares(
    store: Store, uuid: str, bundle: Bundle, digests: Sequence[Digest] | None
) -> list[Share]:
    if digests is None:
        return store.known.expected(uuid, bundle.root.digest) or []
    located = store.known.packs_of(uuid, digests)
    used: Counter[str] = Counter()
    for digest in digests:
        if digest not in located:
            raise IntegrityError(f"{_what(bundle)}: {digest} was sent and is not known as sent")
        used[located[digest].pack] += located[digest].length
    shares = []
    for pack, live in used.items():
        info = store.known.pack(uuid, pack)
        if info is not None:
            shares.append(Share(info, live))
    return shares


def _write(
    store: Store, context: Context, remote: Remote, entry: Entry, shares: Sequence[Share]
) -> Bundle:
    """The record, the version and the reuse look-up of a bundle; the bundle as it stands there."""
    uuid = bound_uuid(context)
    mine = entry.bundle
    after = store.catalog.newest_version(context, mine.name)
    settled = settle_bundle(remote, BundleRecord(mine, after, tuple(shares)))
    bundle = settled.record.bundle
    if bundle.root != mine.root or bundle.name != mine.name:
        # A retried job finds what its first attempt wrote: that one stands.
        store.catalog.adopt(context, bundle, version=None, record_digest=settled.digest)
    store.known.expect(uuid, bundle.root.digest, settled.record.shares)
    n = settle_version(remote, uuid, settled)
    for key in filter(None, (bundle.lineage.task, bundle.lineage.request)):
        remote.put(reuse_key(key.digest, bundle.id), b"")
    store.catalog.set_version(context, bundle.id, n, tags=bundle.tags, record_digest=settled.digest)
    return bundle


def _report(written: Sequence[Bundle], sent: Sequence[SentPack]) -> PushReport:
    return PushReport(
        bundles=tuple(written),
        objects=sum(len(found.members) for found in sent),
        bytes=sum(member.length for found in sent for member in found.members),
        packs=len(sent),
    )


def _what(bundle: Bundle) -> str:
    return f"{bundle.name}@{bundle.id}"
