"""A call as its client has it: its plan, its key, its parts, and what it acts on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bundlerun.errors import BundlerunError, IntegrityError
from bundlerun.futures.sealing import Seal
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.records import create
from bundlerun.remotes.staging import OverlayRemote
from bundlerun.runs.calls.parts import Part
from bundlerun.runs.calls.sealed_plan import call_of
from bundlerun.runs.job_spec import job_base
from bundlerun.runs.keys import part_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.scope import change, read_again
from bundlerun.runs.staging import staging_of

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.backends.job import JobHandle
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.scope import RunScope
    from bundlerun.runs.task import CallTask


@dataclass(frozen=True)
class Call:
    """A call that was planned.

    ``seal`` is None where nobody knows its key any more.
    """

    record: RunRecord
    plan: RunPlan
    seal: Seal | None
    backend: Backend
    scope: RunScope

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.record.run_id

    @property
    def task(self) -> CallTask:
        """What the run carries out."""
        return call_of(self.plan)

    @cached_property
    def parts(self) -> list[Part]:
        """The submissions of the call by number, also those still to be made.

        Raises IntegrityError.
        """
        return [Part.from_json(dict(part)) for part in self.record.parts]

    def parts_of(self, index: int) -> list[Part]:
        """The parts that do the item, the first one first."""
        return [part for part in self.parts if part.has(index)]

    @property
    def remote(self) -> Remote:
        """The remote of the run."""
        return self.scope.remote_of(self.record)

    def reads(self) -> Remote:
        """Where the run's objects are read.

        Its remote, and over it the folder that containers write to, while there is one.
        """
        staging = staging_of(self.record, self.backend, self.scope)
        if staging is None:
            return self.remote
        return OverlayRemote(self.remote, FileRemote(staging.absolute().as_uri()))

    def changed(self, **fields: Any) -> Call:
        """The call with ``fields`` of its record changed, in the journal too."""
        return replace(self, record=change(self.record, lambda r: r.changed(**fields), self.scope))

    def read_again(self) -> Call:
        """The call as the journal has it now.

        Raises RunNotFound, IntegrityError.
        """
        return replace(self, record=read_again(self.record, self.scope))

    def with_part(self, part: Part, **fields: Any) -> Call:
        """The call with ``part`` in place of the one of its number, or added.

        In the journal first, then for others on the remote. Where the remote does not take it they
        look for the job by its name: that is not a failure of the run.
        """
        call = self.knowing(part, **fields)
        try:
            call.note(part)
        except BundlerunError as error:
            line = f"(part {part.number} of run {self.run_id[:13]} is noted here alone: {error})"
            self.scope.progress.line(line)
        return call

    def find_job(self, part: Part) -> JobHandle | None:
        """The job of ``part``, by its name, where a client died before it noted it."""
        return self.backend.find(self.run_id, job_base(self.task.func), part.number)

    def knowing(self, part: Part, **fields: Any) -> Call:
        """The call, its journal's row too, with ``part`` under its number."""

        def update(newest: RunRecord) -> RunRecord:
            return newest.changed(parts=_with(newest.parts, part), **fields)

        return replace(self, record=change(self.record, update, self.scope))

    def note(self, part: Part) -> None:
        """Write ``part`` to the remote, as it is now.

        Raises RemoteErrors, IntegrityError where the key is not known.
        """
        self.remote.put(part_key(self.run_id, part.number), part.to_sealed(self.key()))

    def numbered(self, part: Part) -> Part | None:
        """Write ``part`` unless a part has its number; None where it was written.

        Else the part that has it: another store's, or this one's of an attempt that broke off.
        Raises RemoteErrors, IntegrityError for what the run did not write.
        """
        data, seal = part.to_sealed(self.key()), self.key()
        there = create(self.remote, part_key(self.run_id, part.number), data)
        if there is None:
            return None
        return Part.from_sealed(there, seal, self.run_id, part.number)

    def key(self) -> Seal:
        """The seal.

        Raises IntegrityError where it is not known.
        """
        if self.seal is None:
            raise IntegrityError(
                f"the key of {self.record.label} is known to the machine that submitted it, and was"
                " known to its jobs while the backend remembered them",
                hint="the same on that machine",
            )
        return self.seal


def parts_as_rows(parts: list[Part]) -> tuple[Mapping[str, Any], ...]:
    """Parts as a record has them."""
    return tuple(part.to_json() for part in parts)


def _with(rows: tuple[Mapping[str, Any], ...], part: Part) -> tuple[Mapping[str, Any], ...]:
    found = {row["part"]: row for row in rows} | {part.number: part.to_json()}
    return tuple(found[number] for number in sorted(found))
