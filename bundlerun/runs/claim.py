"""The claim of a job on its part of a run: create-only, so that of two jobs one does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.record import FORMAT, check_format, parse_record
from bundlerun.errors import Conflict, IntegrityError
from bundlerun.remotes.records import create
from bundlerun.runs.keys import claim_key

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote


def claim(remote: Remote, run_id: str, index: int, job: str) -> None:
    """Take the part ``index`` of the run for ``job``, which every attempt of that job may do again.

    Raises Conflict where another job has it, IntegrityError for a claim that cannot be read.
    """
    data = canonical_json({"format": FORMAT, "run_id": run_id, "job": job})
    if create(remote, claim_key(run_id, index), data) is None:
        return
    holder = claimant(remote, run_id, index)
    if holder != job:
        raise Conflict(
            f"the job {holder} carries out run {run_id}; this job, {job}, does nothing",
            hint=f"bundlerun jobs {run_id[:13]}",
        )


def claimant(remote: Remote, run_id: str, index: int = 0) -> str | None:
    """The job that has the part ``index`` of the run, None while none has.

    Raises IntegrityError.
    """
    data = remote.get(claim_key(run_id, index))
    if data is None:
        return None
    place = f"{claim_key(run_id, index)} at {remote.url}"
    try:
        found = parse_record(data)
        check_format(found)
    except IntegrityError as error:
        raise IntegrityError(f"{place}: {error.message}", hint=error.hint) from error
    job = found.get("job")
    if found.get("run_id") != run_id or not isinstance(job, str) or not job:
        raise IntegrityError(f"{place} is not a claim of this run")
    return job
