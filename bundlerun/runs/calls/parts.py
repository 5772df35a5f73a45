"""Parts of a call: one submission each, and which items each of its jobs works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bundlerun.backends.job import JobHandle
from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.record import FORMAT, check_format, checked_id, parse_record
from bundlerun.errors import IntegrityError, UsageError
from bundlerun.futures.sealing import Seal, Sealed


@dataclass(frozen=True)
class Part:
    """One submission of a run: an array of jobs, or a plain job where it has one.

    The job ``child`` works on ``chunk`` consecutive items; all jobs together on the ``count`` items
    from ``first``, or on ``items``, one each, where a part repeats some. ``attempt`` is the number
    of the first attempt that it makes of its items, ``memory_mib`` (MiB) what each job has,
    ``handle`` None until it was submitted.
    """

    run_id: str
    number: int
    first: int
    count: int
    chunk: int
    memory_mib: int
    attempt: int = 1
    items: tuple[int, ...] | None = None
    handle: JobHandle | None = None

    @property
    def children(self) -> int:
        """How many jobs the part is."""
        return -(-self.count // self.chunk)

    @property
    def all_items(self) -> Sequence[int]:
        """The items that its jobs work on, ascending."""
        return range(self.first, self.first + self.count) if self.items is None else self.items

    def has(self, index: int) -> bool:
        """Whether one of its jobs works on the item."""
        return index in self.all_items

    def child_of(self, index: int) -> int:
        """The job that works on the item, which is one of the part's."""
        return self.all_items.index(index) // self.chunk

    def items_of(self, child: int) -> Sequence[int]:
        """The items that the job ``child`` works on, ascending.

        Raises IntegrityError where the part has no such job.
        """
        if not 0 <= child < self.children:
            raise IntegrityError(
                f"part {self.number} of run {self.run_id} has {self.children} jobs, and this one is"
                f" told that its index is {child}",
                hint=f"bundlerun cancel {self.run_id[:13]}",
            )
        if self.items is not None:
            return self.items[child : child + 1]
        first = self.first + child * self.chunk
        return range(first, min(first + self.chunk, self.first + self.count))

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "format": FORMAT,
            "run_id": self.run_id,
            "part": self.number,
            "first": self.first,
            "count": self.count,
            "chunk": self.chunk,
            "attempt": self.attempt,
            "memory_mib": self.memory_mib,
            "items": None if self.items is None else list(self.items),
            "handle": None if self.handle is None else self.handle.to_json(),
        }

    def to_sealed(self, seal: Seal) -> bytes:
        """The part as it lies on the remote."""
        return seal.sealed(Sealed.PART, self.number, canonical_json(self.to_json()))

    @staticmethod
    def from_sealed(data: bytes, seal: Seal, run_id: str, number: int) -> Part:
        """The part ``number`` of the run ``run_id``.

        Raises IntegrityError where it is not sealed by ``seal`` as that.
        """
        part = Part.from_json(parse_record(seal.opened(Sealed.PART, number, data)))
        if (part.run_id, part.number) != (run_id, number):
            raise IntegrityError(
                f"it is part {part.number} of run {part.run_id}, not {number} of {run_id}"
            )
        return part

    @staticmethod
    def from_json(found: Any) -> Part:
        """The inverse of ``to_json``.

        Raises IntegrityError for anything else.
        """
        check_format(found)
        try:
            items, handle = found["items"], found["handle"]
            part = Part(
                run_id=checked_id(found["run_id"]),
                number=_number(found["part"], 0),
                first=_number(found["first"], 0),
                count=_number(found["count"], 1),
                chunk=_number(found["chunk"], 1),
                attempt=_number(found["attempt"], 1),
                memory_mib=_number(found["memory_mib"], 1),
                items=None if items is None else tuple(_number(item, 0) for item in items),
                handle=None if handle is None else JobHandle.from_json(handle),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"not a part of a run: {error!r:.200}") from error
        if part.items is not None and (len(part.items), part.chunk) != (part.count, 1):
            raise IntegrityError(f"a part of {part.count} items names {len(part.items)}")
        return part


def parts_of(run_id: str, items: int, chunk: int, largest: int, memory_mib: int) -> list[Part]:
    """The parts of a run: as few as can be, and of like size.

    It has ``items`` items, ``chunk`` a job, and a submission at most ``largest`` jobs. Raises
    UsageError for a chunk below 1.
    """
    if chunk < 1:
        raise UsageError(f"a job works on one item at least, not on {chunk}", hint="chunksize=1")
    children = -(-items // chunk)
    parts = -(-children // largest)
    bounds = [children * number // parts * chunk for number in range(parts)] + [items]
    return [
        Part(run_id, number, first, end - first, chunk, memory_mib)
        for number, (first, end) in enumerate(pairwise(bounds))
    ]


def repeat_of(
    run_id: str, number: int, items: Sequence[int], attempt: int, memory_mib: int
) -> Part:
    """The part ``number``, which does ``items`` again, each in a job of its own."""
    chosen = tuple(sorted(items))
    return Part(run_id, number, chosen[0], len(chosen), 1, memory_mib, attempt, chosen)


def _number(found: object, least: int) -> int:
    if type(found) is not int or found < least:
        raise ValueError(f"{found!r:.40} is not a number from {least}")
    return found
