"""What the jobs of a call do, done in the test's own process: ten thousand of them cost seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bundlerun.futures.codec import Codec
from bundlerun.futures.item_packs import packed
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.remotes.base import Remote
from bundlerun.runs.calls.items import read_items
from bundlerun.runs.calls.parts import Part
from bundlerun.runs.calls.sealed_plan import checked_call
from bundlerun.runs.claim import claim
from bundlerun.runs.keys import Written, part_key, place_of, plan_key
from bundlerun.runs.plan import RunPlan

Failing = Mapping[int, Any]
"""By item: an Outcome's fields, a call that makes them of the job's memory (MiB) and the item's
value, or None: its job dies there. The others return the sum of their arguments."""


class Children:
    """The jobs of a part of a run, as ``key`` lets them read it."""

    def __init__(self, remote: Remote, run_id: str, part: int, key: str, cache: Path) -> None:
        self.remote, self.run_id = remote, run_id
        self.seal = Seal.from_hex(key)
        plan = RunPlan.from_bytes(remote.get(plan_key(run_id)) or b"")
        self.task = checked_call(plan, self.seal)
        sealed = remote.get(part_key(run_id, part)) or b""
        self.part = Part.from_sealed(sealed, self.seal, run_id, part)
        self.codec = Codec(remote, cache)

    def claims(self, child: int, job: str) -> bool:
        """Whether the job is the first to take its place. Raises Conflict for another's place."""
        return claim(self.remote, self.run_id, place_of(self.part.number, child), job)

    def carry_out(
        self, child: int, failing: Failing, memory_mib: int, begins: Callable[[int], object] = id
    ) -> bool:
        """Do the items of a job, each noted by ``begins``; whether all of them were done."""
        items = self.part.items_of(child)
        entries: list[bytes] = []
        for index, data in read_items(self.remote, self.run_id, self.task.packs, items, self.seal):
            assert isinstance(data, bytes)
            begins(index)
            value = self.codec.encode(sum(self.codec.decode(data, True)))
            fields = failing.get(index, {"value": value})
            if fields is None:
                break
            if callable(fields):
                fields = fields(memory_mib, value)
            outcome = Outcome(index, self.part.attempt, **fields)
            entries.append(self.seal.sealed(Sealed.OUTCOME, index, outcome.to_bytes()))
        if entries:
            written = Written(items[0], self.part.attempt, self.part.number, len(entries), 0)
            self.remote.put(written.key(self.run_id), packed(entries))
        return len(entries) == len(items)
