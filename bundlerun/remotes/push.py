"""Push of a store to a remote: packs, then bundle records, then their versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.lineage import ReuseKey
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord
from bundlerun.errors import BundleNotFound, NotCommitted, PushIncomplete, RemoteError
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.condemned import PushLease, lease_of
from bundlerun.remotes.fetch import Fetcher
from bundlerun.remotes.keys import reuse_key
from bundlerun.remotes.records import PushedBundle
from bundlerun.remotes.upload import Sent, send
from bundlerun.remotes.versions import Created, send_tags, settle_bundle, settle_version
from bundlerun.store.contexts import Context
from bundlerun.store.remote_cache import Location, Share
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store

MAX_THIN_PACKS = 16
"""The most thin packs of a version; with more, their bytes are sent again as one."""

MAX_TRIES = 10
"""The most tries to make a record whose packs were condemned meanwhile."""

THIN_SHARE_BYTES = 1 << 20
"""A pack is thin for a version that has less than this in it."""


@dataclass(frozen=True)
class PushReport:
    """The outcome of a push.

    ``bundles``: those that are versions on the remote now and were not before, in the order they
    were written. How much went: ``objects``, their ``bytes``, and ``packs``. ``left``: those that
    did not go, since bytes of theirs, or of an older version, are neither on this disk nor on the
    remote.
    """

    bundles: tuple[BundleRecord, ...]
    objects: int
    bytes: int
    packs: int
    left: tuple[BundleRecord, ...] = ()


def chosen(store: Store, context: Context, entry: Entry | None) -> list[Entry]:
    """The entries to push: ``entry``, or (None) all that the remote does not have.

    That is everything committed, and every tag. Raises NotCommitted.
    """
    if entry is None:
        return [*store.catalog.unpushed(context), *store.catalog.retagged(context)]
    if not entry.committed:
        name = f"{entry.bundle.name}@{entry.bundle.id}"
        raise NotCommitted(
            f"{name} is not committed, and only committed bundles travel",
            hint=f"bundlerun commit {name}",
        )
    return [entry]


def push(
    binding: Binding,
    entries: Sequence[Entry],
    *,
    progress: Progress = SILENT,
) -> PushReport:
    """Send ``entries`` and what must stand before them.

    Those are their committed ancestors, and older committed versions of each name. What is on the
    remote already costs nothing. Requests: 1; a pack more where objects are new, and 2 a bundle. A
    version is there whole or not at all; a push that broke off is taken up by the next.

    Raises NotCommitted, RemoteChanged and the other RemoteErrors, IntegrityError; and
    PushIncomplete, once the rest was sent, for bundles of which bytes are neither on this disk nor
    on the remote: newer versions of their names wait for them, since a number says which is newer,
    and what was made of them does not.
    """
    ordered = in_order(binding.store, binding.context, entries)
    permit = lease_of(binding.remote, binding.uuid, binding.store.known)
    pushing = _Push(binding, permit, progress)
    pushing.prepare(ordered)
    sendable = pushing.without_the_absent(ordered)
    bar = progress.start("writing versions", len(sendable), "bundles")
    written = []
    for entry in sendable:
        written.append(pushing.write(entry))
        progress.advance(bar, 1)
    progress.finish(bar)
    for id in {entry.bundle.id: None for entry in entries}:
        send_tags(binding, id)
    sent = pushing.sent
    going = {entry.bundle.id for entry in sendable}
    left = tuple(entry.bundle for entry in ordered if entry.bundle.id not in going)
    report = PushReport(tuple(written), sent.objects, sent.bytes, sent.packs, left)
    if left:
        raise _incomplete(binding, report)
    return report


def find_reuse(remote: Remote, key: ReuseKey) -> str | None:
    """The id of the newest bundle on the remote made by the work ``key``, or None."""
    prefix = reuse_key(key.digest, "")
    ids = [entry.key.removeprefix(prefix) for entry in remote.list(prefix)]
    # Ids begin with their time, so the last of them in order is the newest.
    return max(ids, default=None)


def in_order(store: Store, context: Context, entries: Sequence[Entry]) -> list[Entry]:
    """The unpushed ones of ``entries`` and what must go first, in a possible order.

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
    before = _Before(store, context)
    stack: list[tuple[Entry, Iterator[Entry]]] = []

    def enter(entry: Entry) -> None:
        if entry.bundle.id not in seen and not entry.pushed:
            seen.add(entry.bundle.id)
            stack.append((entry, before.of(entry)))

    # No recursion: a chain of a thousand pipes is a chain of a thousand ancestors.
    for entry in entries:
        enter(entry)
        while stack:
            current, rest = stack[-1]
            first = next(rest, None)
            if first is None:
                ordered.append(current)
                stack.pop()
            else:
                enter(first)
    return ordered


class _Before:
    """The bundles that must stand on the remote before another.

    The versions of a name are read once.
    """

    def __init__(self, store: Store, context: Context) -> None:
        self._store = store
        self._context = context
        self._older: dict[str, dict[str, Entry | None]] = {}

    def of(self, entry: Entry) -> Iterator[Entry]:
        """The version committed before ``entry``, and its committed parents.

        That version in turn has one before it.
        """
        older = self._versions(entry.bundle.name).get(entry.bundle.id)
        if older is not None:
            yield older
        for parent in entry.bundle.lineage.parents:
            found = self._store.catalog.by_id(self._context, parent.id)
            if found is not None and found.committed:
                yield found

    def _versions(self, name: str) -> dict[str, Entry | None]:
        if name not in self._older:
            unpushed = self._store.catalog.unpushed(self._context, name)
            self._older[name] = {
                entry.bundle.id: older
                for entry, older in zip(unpushed, [None, *unpushed], strict=False)
            }
        return self._older[name]


def _incomplete(binding: Binding, report: PushReport) -> PushIncomplete:
    context, remote = binding.context, binding.remote
    first, *rest = report.left
    there = [url for url in binding.store.known.urls_of(first.root.digest) if url != remote.url]
    other = there[0] if there else "URL-OF-THE-REMOTE-THAT-HAS-THEM"
    more = f", and {len(rest)} more" if rest else ""
    return PushIncomplete(
        f"{len(report.left)} not sent: bytes of {_what(first)}{more} are neither on this disk nor"
        f" at {remote.url}, and newer versions wait for older ones",
        hint=f"bundlerun rm {_what(first)}; or bundlerun remote {context.name} {other} --rebind;"
        f" bundlerun pull {_what(first)} --localize;"
        f" bundlerun remote {context.name} {remote.url} --rebind; bundlerun push",
        report=report,
    )


def _thin(located: Mapping[Digest, Location]) -> set[Digest]:
    """The objects in thin packs, where these are so many that a pull would suffer."""
    used: Counter[str] = Counter()
    for location in located.values():
        used[location.pack] += location.length
    thin = {pack for pack, live in used.items() if live < THIN_SHARE_BYTES}
    if len(thin) < MAX_THIN_PACKS:
        return set()
    return {digest for digest, location in located.items() if location.pack in thin}


class _Push:
    """One push under way.

    Not thread-safe.
    """

    def __init__(self, binding: Binding, permit: PushLease, progress: Progress) -> None:
        self._binding = binding
        self._store = binding.store
        self._remote = binding.remote
        self._uuid = binding.uuid
        self._permit = permit
        self._progress = progress
        self._digests: dict[Digest, list[Digest]] = {}
        self._absent: set[Digest] = set()
        self.sent = Sent()

    def prepare(self, entries: Sequence[Entry]) -> None:
        """Send what the remote lacks of these bundles, or has in condemned packs alone."""
        missing: dict[Digest, Link] = {}
        walked: set[Digest] = set()
        for entry in entries:
            root = entry.bundle.root
            known = self._store.known.sound_shares(self._uuid, root.digest)
            if known is None and root.digest not in walked:
                walked.add(root.digest)
                try:
                    found = self._missing(entry.bundle)
                except BundleNotFound:
                    self._absent.add(root.digest)
                    continue
                missing.update((link.digest, link) for link in found)
        links = list(missing.values())
        self.sent += send(self._binding, links, self._progress)

    def without_the_absent(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries that can go after ``prepare``, in their order.

        Every byte of theirs is there, and no older version of their name is left.
        """
        waiting: set[str] = set()
        found = []
        for entry in entries:
            if entry.bundle.root.digest in self._absent:
                waiting.add(entry.bundle.name)
            if entry.bundle.name not in waiting:
                found.append(entry)
        return found

    def write(self, entry: Entry) -> BundleRecord:
        """Write the record, the version and the reuse look-up of a bundle.

        Returns the bundle as it stands there.
        """
        store, context, mine = self._store, self._binding.context, entry.bundle
        after = store.catalog.newest_version(context, mine.name)
        settled = self._settled(entry, after)
        bundle = settled.record.bundle
        if bundle.root != mine.root or bundle.name != mine.name:
            # A retried job finds what its first attempt wrote: that one stands.
            store.catalog.adopt(context, bundle, version=None, record=settled.data)
        store.known.note_value(self._uuid, bundle.root.digest, settled.record.shares)
        n = settle_version(self._remote, self._uuid, settled)
        for key in filter(None, (bundle.lineage.task, bundle.lineage.request)):
            self._remote.put(reuse_key(key.digest, bundle.id), b"")
        store.catalog.set_version(context, bundle.id, n, tags=bundle.tags, record=settled.data)
        return bundle

    def _settled(self, entry: Entry, after: int) -> Created:
        for _ in range(MAX_TRIES):
            if self._permit.expired:
                # Packs that were found unused meanwhile may be gone soon.
                self._permit.renew()
            shares = self._shares(entry.bundle)
            if shares is None:
                self.prepare([entry])
                if entry.bundle.root.digest in self._absent:
                    raise BundleNotFound(
                        f"a clean-up of {self._remote.url} took bytes of {_what(entry.bundle)},"
                        " and they are not on this disk",
                        hint=f"bundlerun rm {_what(entry.bundle)}",
                    )
            elif not self._permit.expired:
                record = PushedBundle(entry.bundle, after, tuple(shares))
                settled = settle_bundle(self._remote, record, self._permit)
                if settled is not None:
                    return settled
        raise RemoteError(
            f"{self._remote.url} answers too slowly, or clean-ups follow each other: "
            f"{_what(entry.bundle)} was not written in time",
            hint="the same command again",
        )

    def _missing(self, bundle: BundleRecord) -> list[Link]:
        """The objects of a value that the remote lacks, every byte of it on this disk.

        Raises BundleNotFound where they are neither on this disk nor on the remote.
        """
        # Imported here: a plan asks a remote for equal work, and needs no walk over values.
        from bundlerun.bundles.value import links as links_of

        store, uuid = self._store, self._uuid
        shares = store.known.noted_value(uuid, bundle.root.digest) or []
        fetcher = Fetcher(store, self._remote, uuid, _what(bundle), shares)
        links = {link.digest: link for link, _ in links_of(bundle.root, fetcher.read)}
        located = store.known.sound_packs_of(uuid, links)
        thin = _thin(located)
        absent = store.objects.missing(thin) if thin else set()
        missing = [
            link
            for digest, link in links.items()
            if digest not in located or (digest in thin and digest not in absent)
        ]
        away = store.objects.missing(link.digest for link in missing)
        if away and (shares or store.known.packs_of(uuid, away)):
            # In condemned packs, which are there for a while yet.
            fetcher.bring([link for link in missing if link.digest in away])
        elif away:
            raise BundleNotFound(
                f"bytes of {_what(bundle)} are neither on this disk nor at {self._remote.url}",
                hint=f"bundlerun rm {_what(bundle)}, or push from the machine that has them",
            )
        self._digests[bundle.root.digest] = list(links)
        return missing

    def _shares(self, bundle: BundleRecord) -> list[Share] | None:
        """The packs of a value, None when some of it is in no sound one."""
        known, uuid = self._store.known, self._uuid
        digests = self._digests.get(bundle.root.digest)
        if digests is None:
            return known.sound_shares(uuid, bundle.root.digest)
        located = known.sound_packs_of(uuid, digests)
        if not located.keys() >= set(digests):
            return None
        used: Counter[str] = Counter()
        for location in located.values():
            used[location.pack] += location.length
        infos = [info for info in (known.pack(uuid, pack) for pack in used) if info is not None]
        if len(infos) < len(used):
            return None  # forgotten meanwhile
        return [Share(info, used[info.uuid]) for info in infos]


def _what(bundle: BundleRecord) -> str:
    return f"{bundle.name}@{bundle.id}"
