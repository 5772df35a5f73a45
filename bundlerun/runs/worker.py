"""What happens inside the container: from a plan on the remote to bundles and an envelope on it."""

from __future__ import annotations

import platform
import resource
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.bundles.lineage import ReuseKey
from bundlerun.errors import BundlerunError, InfraError, RunFailed
from bundlerun.images.dockerfile import CODE
from bundlerun.pipelines.apply import apply
from bundlerun.pipelines.loader import importing_from, load_pipe
from bundlerun.pipelines.override_scope import in_force
from bundlerun.pipelines.session import ApplyOptions
from bundlerun.pipelines.targets import StoreTargets
from bundlerun.progress import Lines, Progress
from bundlerun.remotes.fetch import fetcher
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.identity import found_uuid
from bundlerun.remotes.open import open_remote
from bundlerun.remotes.pull import pull_all, pull_id, pull_latest
from bundlerun.remotes.push import find_reuse, push
from bundlerun.remotes.staging import OverlayRemote
from bundlerun.runs.capture import LEAST_HIDDEN, Capture, masked
from bundlerun.runs.index import claim
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.record import TAIL_BYTES, Envelope, plan_key, result_key
from bundlerun.settings import read_settings
from bundlerun.store.store import Store

if TYPE_CHECKING:
    from bundlerun.pipelines.pipe import External
    from bundlerun.remotes.base import Remote
    from bundlerun.store.catalog import Entry
    from bundlerun.store.contexts import Context

# The largest counts: a pipe with a worker_timeout runs in a child.
_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@dataclass(frozen=True)
class Attempt:
    """One attempt of a run: which, on which remote, and where the pipeline's source lies. ``job``
    is the job's id, which its attempts share; ``hidden`` are texts that nothing may show, by
    the names of their variables."""

    remote: Remote
    run_id: str
    job: str
    number: int = 1
    pipe_root: Path = Path(CODE)
    hidden: Mapping[str, str] = field(default_factory=dict)


def work(attempt: Attempt, *, say: Callable[[str], None]) -> Envelope:
    """Carry out the plan of a run and leave its envelope on the remote; the envelope.

    ``say`` gets what pipes report of themselves, and the traceback of a failure, while the output
    still counts as the job's log. What the pipes write to the descriptors 1 and 2 is kept as the
    envelope's tail. Never raises for a failing pipe; an unreachable remote is raised, for then no
    envelope can be left either.
    Raises Conflict, before anything is done, where another job has the run.
    """
    started_s = time.time()
    claim(attempt.remote, attempt.run_id, attempt.job)
    with Capture(TAIL_BYTES, tuple(attempt.hidden.values())) as captured:
        for name, text in attempt.hidden.items():
            if len(text) < LEAST_HIDDEN:
                say(f"the secret {name} is too short to be masked: what prints it shows it")
        envelope = _attempted(attempt, started_s, Lines(say))
        envelope = replace(
            envelope,
            message=_masked(envelope.message, attempt),
            traceback=_masked(envelope.traceback, attempt),
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
    attempt.remote.put(result_key(attempt.run_id, attempt.number), envelope.to_bytes())
    return envelope


def _masked(text: str, attempt: Attempt) -> str:
    data = masked(text.encode(errors="surrogateescape"), tuple(attempt.hidden.values()))
    return data.decode(errors="surrogateescape")


def _attempted(attempt: Attempt, started_s: float, progress: Progress) -> Envelope:
    from bundlerun import __version__

    blank = Envelope(
        run_id=attempt.run_id,
        attempt=attempt.number,
        state="failed",
        started_s=started_s,
        versions={"bundlerun": __version__, "python": platform.python_version()},
    )
    try:
        with tempfile.TemporaryDirectory(prefix="bundlerun-") as folder:
            return _applied(attempt, Path(folder), blank, progress)
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


def _applied(attempt: Attempt, folder: Path, blank: Envelope, progress: Progress) -> Envelope:
    remote = attempt.remote
    data = remote.get(plan_key(attempt.run_id))
    if data is None:
        raise InfraError(f"{remote.url} has no plan for run {attempt.run_id}")
    plan = RunPlan.from_bytes(data)
    store = Store.open(folder / "store")
    context = _context(store, remote)
    bundle = None
    if plan.input is not None:
        bundle = pull_id(store, context, remote, plan.input.id).bundle
    options = ApplyOptions(
        force=plan.force,
        force_all=plan.force_all,
        output_tags=plan.output_tags,
        commit=True,
        environment=plan.environment,
        code=plan.code,
        run=plan.run_id,
        image=plan.image,
        request=plan.request,
        output_id=plan.output_id,
        left_out=plan.left_out,
        given=plan.given,
    )
    # Also while the module is imported, and for what it imports when it runs.
    with in_force(plan.given), importing_from(attempt.pipe_root):
        result = apply(
            load_pipe(plan.pipe, attempt.pipe_root),
            host=RemoteHost(store, context, remote),
            input=bundle,
            output=plan.output,
            params=dict(plan.params),
            options=options,
            progress=progress,
        )
    return replace(
        blank,
        state="succeeded",
        output=result.entry.bundle.id,
        ran=tuple(result.ran),
        reused=tuple(result.reused),
    )


def _context(store: Store, remote: Remote) -> Context:
    return store.contexts.bind(store.contexts.create("job"), remote.url, found_uuid(remote))


def open_job_remote(url: str, staging: Path | None, progress: Progress) -> Remote:
    """The remote of a job: what it writes goes to ``staging`` where there is one, because the
    remote itself is mounted read-only then. ``progress`` is told where it lets us wait long."""
    remote = open_remote(url, read_settings(), progress)
    return (
        remote
        if staging is None
        else OverlayRemote(remote, FileRemote(staging.absolute().as_uri()))
    )


class RemoteHost(StoreTargets):
    """The engine's world inside a container: what is not here is looked for on the remote, and
    each finished bundle is pushed at once."""

    def __init__(self, store: Store, context: Context, remote: Remote) -> None:
        super().__init__(store, context, fetch=lambda bundle: fetcher(store, remote, bundle))
        self._remote = remote

    def find(self, task: ReuseKey) -> Entry | None:
        """See Host."""
        here = super().find(task)
        if here is not None:
            return here
        id = find_reuse(self._remote, task)
        return None if id is None else pull_id(self.store, self.context, self._remote, id)

    def external(self, wanted: External) -> Entry:
        """See Host."""
        if wanted.tags:
            pull_all(self.store, self.context, self._remote, wanted.name, all_versions=True)
        else:
            pull_latest(self.store, self.context, self._remote, wanted.name)
        return super().external(wanted)

    def finished(self, entry: Entry) -> None:
        """See Host."""
        if not entry.pushed:
            push(self.store, self.context, self._remote, [entry])
