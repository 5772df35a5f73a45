"""The claim of a job on its place in a run.

It is create-only, so that of two jobs one does the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.record import FORMAT, check_format, parse_record
from bundlerun.errors import Conflict, IntegrityError
from bundlerun.remotes.records import create
from bundlerun.runs.keys import claim_key

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote


def claim(remote: Remote, run_id: str, place: int | str, job: str) -> bool:
    """Take a place in the run for ``job``; whether this attempt is the first to do so.

    Every attempt of that job may take it again. ``place`` is as ``claim_key`` has it. Raises
    Conflict where another job has it, IntegrityError for a claim that cannot be read.
    """
    data = canonical_json({"format": FORMAT, "run_id": run_id, "job": job})
    key = claim_key(run_id, place)
    there = create(remote, key, data)
    if there is None:
        return True
    holder = _job_in(there, run_id, f"{key} at {remote.url}")
    if holder != job:
        raise Conflict(
            f"the job {holder} carries out run {run_id}; this job, {job}, does nothing",
            hint=f"bundlerun jobs {run_id[:13]}",
        )
    return False


def claimant(remote: Remote, run_id: str, place: int | str = 0) -> str | None:
    """The job that has this place in the run, None while none has.

    Raises IntegrityError.
    """
    key = claim_key(run_id, place)
    data = remote.get(key)
    return None if data is None else _job_in(data, run_id, f"{key} at {remote.url}")


def _job_in(data: bytes, run_id: str, where: str) -> str:
    try:
        found = parse_record(data)
        check_format(found)
    except IntegrityError as error:
        raise IntegrityError(f"{where}: {error.message}", hint=error.hint) from error
    job = found.get("job")
    if found.get("run_id") != run_id or not isinstance(job, str) or not job:
        raise IntegrityError(f"{where} is not a claim of this run")
    return job
