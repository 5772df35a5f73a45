"""The items of a call on their way to the remote, packed as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundlerun.bundles.lineage import Parent
from bundlerun.errors import BadValue, BundlerunError, UsageError
from bundlerun.futures.codec import packs_in
from bundlerun.futures.item_packs import Packer
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.runs.keys import items_key, used_pack_key

if TYPE_CHECKING:
    from bundlerun.futures.codec import Codec
    from bundlerun.remotes.base import Remote

ITEM_ROLE = "item"
"""The role of a bundle that is an item, or in one, in the lineage of the output."""

PACKS_AT_ONCE = 2
"""Packs that are on their way while the next one fills."""


@dataclass(frozen=True)
class SentItems:
    """How many items each pack holds, and the bundles in them, each once."""

    packs: tuple[int, ...]
    parents: tuple[Parent, ...]

    @property
    def count(self) -> int:
        """How many items there are."""
        return sum(self.packs)


def send_items(
    items: Iterable[object], codec: Codec, seal: Seal, remote: Remote, run_id: str
) -> SentItems:
    """Send the items, each a tuple of positional arguments, as packs.

    Each pack goes out when it is full: memory is bounded. Raises what the iterable raises,
    UsageError for an item that is not a tuple, BadValue for one that cannot travel, RemoteErrors.
    """
    packer, counts, used = Packer(), [0], set[str]()
    with _Sending(remote, run_id) as sending:
        for index, item in enumerate(items):
            if not isinstance(item, tuple):
                raise UsageError(
                    f"item {index} must be a tuple of arguments, not a {type(item).__name__}",
                    hint="br.starmap(f, [(a, b), ...]), or br.map(f, items)",
                )
            data = _encoded(codec, index, item)
            for pack in {share.pack.uuid for share in packs_in(data)} - used:
                # At once: what nothing names, a clean-up may take.
                remote.put(used_pack_key(run_id, pack), b"")
                used.add(pack)
            full = packer.add(seal.sealed(Sealed.ITEM, index, data))
            if full is not None:
                sending.send(full)
                counts.append(0)
            counts[-1] += 1
        rest = packer.rest()
        if rest is not None:
            sending.send(rest)
    return SentItems(tuple(filter(None, counts)), parents_in(codec))


def parents_in(codec: Codec) -> tuple[Parent, ...]:
    """The bundles in what ``codec`` has encoded, as parents of the results."""
    found = codec.bundles.values()
    return tuple(Parent(ITEM_ROLE, each.name, each.id, each.root.digest) for each in found)


@contextmanager
def removed_where_it_breaks_off(remote: Remote, run_id: str) -> Iterator[None]:
    """Remove what the block sent of the run where it raises: nothing was submitted.

    A clean-up removes what is left where that fails too.
    """
    try:
        yield
    except BaseException:
        with suppress(BundlerunError):
            remote.delete([entry.key for entry in remote.list(f"runs/{run_id}/")])
        raise


class _Sending:
    """Packs on their way, PACKS_AT_ONCE at most."""

    def __init__(self, remote: Remote, run_id: str) -> None:
        self._remote = remote
        self._run_id = run_id
        self._pool = ThreadPoolExecutor(PACKS_AT_ONCE)
        self._running: deque[Future[None]] = deque()
        self._number = 0

    def __enter__(self) -> _Sending:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            while kind is None and self._running:
                self._running.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def send(self, pack: bytes) -> None:
        """Send one more pack; what an earlier one raised is raised here."""
        while len(self._running) >= PACKS_AT_ONCE:
            self._running.popleft().result()
        key = items_key(self._run_id, self._number)
        self._number += 1
        self._running.append(self._pool.submit(self._remote.put, key, pack))


def _encoded(codec: Codec, index: int, item: tuple[object, ...]) -> bytes:
    try:
        return codec.encode(item)
    except BadValue as error:
        where, why = _argument_at_fault(codec, item) or ("", error)
        raise BadValue(f"item {index}: {where}{why.message}", hint=why.hint) from error


def _argument_at_fault(codec: Codec, item: tuple[object, ...]) -> tuple[str, BadValue] | None:
    """Which argument cannot travel, where it is one by itself, and why not."""
    for number, argument in enumerate(item, 1):
        try:
            codec.encode(argument)
        except BadValue as error:
            return (f"argument {number}: " if len(item) > 1 else ""), error
    return None
