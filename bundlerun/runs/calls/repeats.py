"""What of a call goes again with more memory: which items, and as which part."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundlerun.errors import UsageError
from bundlerun.runs.calls.parts import Part, repeat_of
from bundlerun.runs.scope import holding

if TYPE_CHECKING:
    from bundlerun.backends.job import Resources
    from bundlerun.runs.calls.call import Call

SUBMITTED_WITHIN_S = 30.0
"""Seconds that another store has to submit a repeat that it noted.

Then this one does. Where both do, one job does the work.
"""


@dataclass(frozen=True)
class Repeat:
    """One more attempt: its number, and the memory (MiB) of each job."""

    attempt: int
    memory_mib: int


class Repeats:
    """The items that ran out of memory and wait for a part that repeats them."""

    def __init__(self) -> None:
        self._waiting: dict[int, int] = {}
        self._seen_s: dict[int, float] = {}

    def __contains__(self, index: object) -> bool:
        return index in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def takes(self, call: Call, index: int, attempt: int) -> bool:
        """Whether an item that ran out of memory is done once more, with more of it."""
        task = call.task
        if task.memory_factor <= 1 or call.seal is None:
            return False
        if call.record.cancel_asked_s is not None:
            return False
        parts = call.parts_of(index)
        if any(part.attempt > attempt for part in parts):
            return True
        repeats = sum(part.items is not None for part in parts)
        if repeats >= max(task.retries, 1):
            return False
        try:
            call.backend.check_resources(_resources(call, _more(call, index)), {"memory_mib"})
        except UsageError:
            return False
        self._waiting[index] = attempt
        return True

    def groups(self, call: Call) -> Iterator[tuple[list[int], Repeat, int | None]]:
        """The items of each new part, and the most jobs that run side by side.

        None: a queue decides.
        """
        by_size: dict[Repeat, list[int]] = {}
        for index, attempt in self._waiting.items():
            by_size.setdefault(Repeat(attempt + 1, _more(call, index)), []).append(index)
        for repeat, items in by_size.items():
            room = call.backend.room(_resources(call, repeat.memory_mib))
            largest = min(room or len(items), call.backend.traits.largest_array)
            for start in range(0, len(items), largest):
                yield items[start : start + largest], repeat, room

    def noted(self, call: Call, items: list[int], repeat: Repeat) -> Call:
        """The call with ``items`` as a new part, not submitted yet.

        Other processes and stores may follow the run: one of them gives a part its number. Raises
        as ``Call.numbered``.
        """
        with holding(call.run_id, call.scope, wait=True):
            # Another process of this store may have done so already.
            call = call.read_again()
            later = [part for part in call.parts if part.attempt >= repeat.attempt and part.items]
            new = [index for index in items if not any(part.has(index) for part in later)]
            if new and call.record.cancel_asked_s is None:
                number = len(call.parts)
                part = repeat_of(call.run_id, number, new, repeat.attempt, repeat.memory_mib)
                theirs = call.numbered(part)
                if theirs is not None and self._is_submitted_elsewhere(theirs):
                    return call
                if theirs is None:
                    line = f"{len(new)} items ran out of memory: again with {part.memory_mib} MiB"
                    call.scope.progress.line(line)
                part = theirs or part
                call = call.knowing(part)
                # What the other store did not see yet is numbered at the next look.
                items = [index for index in items if part.has(index) or index not in new]
        for index in items:
            self._waiting.pop(index, None)
        return call

    def _is_submitted_elsewhere(self, part: Part) -> bool:
        """Whether another store may submit the part, which it noted, at this moment."""
        since_s = self._seen_s.setdefault(part.number, time.monotonic())
        return part.handle is None and time.monotonic() - since_s < SUBMITTED_WITHIN_S


def _more(call: Call, index: int) -> int:
    """The memory (MiB) of the next attempt of an item."""
    most = max(part.memory_mib for part in call.parts_of(index))
    return int(most * call.task.memory_factor)


def _resources(call: Call, memory_mib: int) -> Resources:
    return dataclasses.replace(call.task.resources, memory_mib=memory_mib)
