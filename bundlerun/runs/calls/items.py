"""The items of a part's job, read from the run's packs as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bundlerun.errors import IntegrityError
from bundlerun.futures.item_packs import read_entries
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.runs.keys import items_key

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote


def read_items(
    remote: Remote, run_id: str, packs: Sequence[int], items: Sequence[int], seal: Seal
) -> Iterator[tuple[int, bytes | IntegrityError]]:
    """Each of ``items``, ascending, with its bytes, or what is wrong with it.

    ``packs`` is how many items each pack holds. Two requests for each run of neighbours in a pack,
    which is in memory while it is gone through.
    """
    for pack, start, wanted in _in_packs(packs, items):
        key = items_key(run_id, pack)

        def read(begin: int, length: int, key: str = key) -> bytes | None:
            return remote.get(key, begin, length)

        try:
            entries = read_entries(read, wanted[0] - start, len(wanted))
        except IntegrityError as error:
            yield from ((index, error) for index in wanted)
            continue
        for index, entry in zip(wanted, entries, strict=True):
            try:
                yield index, seal.opened(Sealed.ITEM, index, entry)
            except IntegrityError as error:
                yield index, error


def _in_packs(
    packs: Sequence[int], items: Sequence[int]
) -> Iterator[tuple[int, int, Sequence[int]]]:
    """``items`` in runs of neighbours: the pack of each, its first item, and the run."""
    pack, start = 0, 0
    run: list[int] = []
    for index in items:
        beyond = index >= start + packs[pack]
        if run and (beyond or index != run[-1] + 1):
            yield pack, start, run
            run = []
        while index >= start + packs[pack]:
            start += packs[pack]
            pack += 1
        run.append(index)
    if run:
        yield pack, start, run
