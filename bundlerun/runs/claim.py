"""Which job carries a run out: the first that says so on the remote.

A submit whose answer was lost may have made a job that no listing shows yet, and be repeated: of
two jobs of one run one does the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundlerun.bundles.bundle import FORMAT, check_format, parse_record
from bundlerun.bundles.digest import canonical_json
from bundlerun.errors import Conflict, IntegrityError
from bundlerun.remotes.records import create
from bundlerun.runs.envelope import claim_key

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote


def claim(remote: Remote, run_id: str, job: str) -> None:
    """Take the run for ``job``, which every attempt of that job may do again.

    Raises Conflict where another job has it, IntegrityError for a claim that cannot be read.
    """
    data = canonical_json({"format": FORMAT, "run_id": run_id, "job": job})
    if create(remote, claim_key(run_id), data) is None:
        return
    holder = claimant(remote, run_id)
    if holder != job:
        raise Conflict(
            f"run {run_id} is carried out by the job {holder}; this one, {job}, does nothing",
            hint=f"bundlerun jobs {run_id[:13]}",
        )


def claimant(remote: Remote, run_id: str) -> str | None:
    """The job that has the run, None while none has. Raises IntegrityError."""
    data = remote.get(claim_key(run_id))
    if data is None:
        return None
    place = f"{claim_key(run_id)} at {remote.url}"
    try:
        found = parse_record(data)
        check_format(found)
    except IntegrityError as error:
        raise IntegrityError(f"{place}: {error.message}", hint=error.hint) from error
    job = found.get("job")
    if found.get("run_id") != run_id or not isinstance(job, str) or not job:
        raise IntegrityError(f"{place} is not a claim of this run")
    return job
