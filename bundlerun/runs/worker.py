"""The worker inside the container: from a plan to bundles and an envelope."""

from __future__ import annotations

import platform
import resource
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlerun import registry
from bundlerun.bundles.record import check_format, parse_record
from bundlerun.connections import Connections
from bundlerun.errors import BundlerunError, InfraError, RunFailed
from bundlerun.images.layout import CODE
from bundlerun.progress import Lines, Progress
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.open import open_remote
from bundlerun.remotes.staging import OverlayRemote
from bundlerun.runs.capture import Capture
from bundlerun.runs.claim import claim
from bundlerun.runs.envelope import TAIL_BYTES, Envelope
from bundlerun.runs.keys import plan_key, result_key
from bundlerun.runs.masking import LEAST_HIDDEN, masked
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.task import TASKS, kind_of
from bundlerun.settings import read_settings

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote

# The largest counts: a pipe with a worker_timeout runs in a child.
_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@dataclass(frozen=True)
class Attempt:
    """One attempt of a run's job: its number, its remote, and its pipeline's source.

    ``job`` is the job's id, which its attempts share; ``index`` the job's place among those of its
    run; ``hidden`` are texts that nothing may show, by the names of their variables.
    """

    remote: Remote
    run_id: str
    job: str
    number: int = 1
    index: int = 0
    pipe_root: Path = Path(CODE)
    hidden: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """The outcome of a task that was carried out.

    ``output`` is the id of its output bundle, where it has one; ``ran`` and ``reused`` are the
    pipes that ran, and those of which equal work was found.
    """

    output: str | None = None
    ran: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()


Carry = Callable[[RunPlan, Attempt, Path, Progress], Done]
"""A function that carries out a plan's task in an attempt.

It gets a folder that is removed afterwards. What it raises is the run's failure.
"""


def work(attempt: Attempt, *, say: Callable[[str], None]) -> Envelope:
    """Carry out the plan of a run and leave its envelope on the remote; the envelope.

    ``say`` gets what pipes report of themselves, and the traceback of a failure, while the output
    still counts as the job's log. What the pipes write to the descriptors 1 and 2 is kept as the
    envelope's tail. Never raises for a failing pipe; an unreachable remote is raised, for then no
    envelope can be left either.
    Raises Conflict, before anything is done, where another job has the run.
    """
    started_s = time.time()
    claim(attempt.remote, attempt.run_id, attempt.index, attempt.job)
    hidden = tuple(attempt.hidden.values())
    with Capture(TAIL_BYTES, hidden) as captured:
        for name, text in attempt.hidden.items():
            if len(text) < LEAST_HIDDEN:
                say(f"the secret {name} is too short to be masked: what prints it shows it")
        envelope = _attempted(attempt, started_s, Lines(say))
        envelope = replace(
            envelope,
            message=masked(envelope.message, hidden),
            traceback=masked(envelope.traceback, hidden),
        )
        if envelope.traceback or envelope.message:
            say(envelope.traceback or envelope.message)
    envelope = replace(
        envelope,
        tail=captured.text,
        finished_s=time.time(),
        # ru_maxrss is in KiB on Linux (getrusage(2)).
        peak_memory_mib=max(resource.getrusage(who).ru_maxrss for who in _PROCESSES) / 1024,
    )
    key = result_key(attempt.run_id, attempt.index, attempt.number)
    attempt.remote.put(key, envelope.to_bytes())
    return envelope


def _attempted(attempt: Attempt, started_s: float, progress: Progress) -> Envelope:
    from bundlerun import __version__

    blank = Envelope(
        run_id=attempt.run_id,
        attempt=attempt.number,
        index=attempt.index,
        state="failed",
        started_s=started_s,
        versions={"bundlerun": __version__, "python": platform.python_version()},
    )
    try:
        with tempfile.TemporaryDirectory(prefix="bundlerun-") as folder:
            return _carried_out(attempt, Path(folder), blank, progress)
    except BundlerunError as error:
        kind = type(error).__name__ if isinstance(error, RunFailed) else InfraError.__name__
        evidence = error.evidence if isinstance(error, RunFailed) else ""
        return replace(blank, error=kind, message=str(error), traceback=evidence)
    except BaseException as error:  # the job's last word: whatever it was goes into the envelope
        return replace(
            blank,
            error=InfraError.__name__,
            message=f"{type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
        )


def _carried_out(attempt: Attempt, folder: Path, blank: Envelope, progress: Progress) -> Envelope:
    plan = _plan(attempt, blank.versions["bundlerun"])
    kind = plan.task.kind
    carry: Carry = registry.load({kind: TASKS[kind].carry}, kind, what="task")
    done = carry(plan, attempt, folder, progress)
    return replace(blank, state="succeeded", output=done.output, ran=done.ran, reused=done.reused)


def _plan(attempt: Attempt, version: str) -> RunPlan:
    """The plan of the run.

    Raises InfraError where there is none, or of a task that is not known here, IntegrityError for
    what is not a plan.
    """
    remote, run_id = attempt.remote, attempt.run_id
    data = remote.get(plan_key(run_id))
    if data is None:
        raise InfraError(
            f"{remote.url} has no plan for run {run_id}", hint=f"bundlerun jobs {run_id[:13]}"
        )
    found: Any = parse_record(data)
    check_format(found)
    kind = kind_of(found.get("task"))
    if kind not in TASKS:
        made = "environment" if found.get("image") is None else "image"
        raise InfraError(
            f"run {run_id} carries out a task of the kind {kind!r:.40}, which the bundlerun"
            f" {version} of this job's {made} does not know (it knows {', '.join(TASKS)})",
            hint="bundlerun dockerize PIPE_ROOT pkg.module.Pipe"
            if made == "image"
            else "pip install --upgrade bundlerun",
        )
    plan = RunPlan.from_json(found)
    if attempt.index >= plan.array:
        raise InfraError(
            f"run {run_id} has {plan.array} jobs, and this one is told that its index is"
            f" {attempt.index}",
            hint=f"bundlerun cancel {run_id[:13]}",
        )
    return plan


def open_job_remote(url: str, staging: Path | None, progress: Progress) -> Remote:
    """The remote of a job.

    What it writes goes to ``staging`` where there is one, because the remote itself is mounted
    read-only then. ``progress`` is told where it lets us wait long.
    """
    remote = open_remote(url, Connections(read_settings(), progress))
    return (
        remote
        if staging is None
        else OverlayRemote(remote, FileRemote(staging.absolute().as_uri()))
    )
