"""A pipe carried out inside a job: its input pulled, each finished bundle pushed.

A bundle is pushed at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from bundlerun.errors import InfraError
from bundlerun.pipelines.apply import apply
from bundlerun.pipelines.environment import local_environment
from bundlerun.pipelines.loader import importing_from, load_pipe
from bundlerun.pipelines.luigid import Luigid
from bundlerun.pipelines.override_scope import in_force
from bundlerun.pipelines.session import SessionOptions
from bundlerun.pipelines.source import source_digest
from bundlerun.pipelines.targets import Targets
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import fetcher
from bundlerun.remotes.identity import found_uuid
from bundlerun.remotes.pull import pull_all, pull_id, pull_latest
from bundlerun.remotes.push import find_reuse, push
from bundlerun.runs.masking import masked
from bundlerun.runs.task import PipeTask
from bundlerun.runs.worker import Done
from bundlerun.store.store import Store

if TYPE_CHECKING:
    from bundlerun.bundles.lineage import ReuseKey
    from bundlerun.pipelines.pipe import External
    from bundlerun.progress import Progress
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.worker import Attempt
    from bundlerun.store.catalog import Entry


def carry_pipe(plan: RunPlan, attempt: Attempt, folder: Path, progress: Progress) -> Done:
    """See ``worker.Carry``.

    Raises as ``apply``, and what the remote raises.
    """
    task, remote = cast(PipeTask, plan.task), attempt.remote
    if plan.image is None:
        _check_as_planned(plan, task, attempt.pipe_root)
    store = Store.open(folder / "store")
    bound = store.contexts.bind(store.contexts.create("job"), remote.url, found_uuid(remote))
    binding = Binding.of(store, bound, remote)
    bundle = None
    if task.input is not None:
        bundle = pull_id(binding, task.input.id).bundle
    options = SessionOptions(
        force=task.force,
        force_all=task.force_all,
        output_tags=task.output_tags,
        commit=True,
        environment=plan.environment,
        code=task.code,
        run=plan.run_id,
        image=plan.image,
        request=task.request,
        output_id=task.output_id,
        left_out=task.left_out,
        given=task.given,
        # Told nowhere by itself; an apply inside of a pipe may be, without the secrets of the job.
        luigid=Luigid(mask=lambda text: masked(text, tuple(attempt.hidden.values()))),
    )
    # Also while the module is imported, and for what it imports when it runs.
    with in_force(task.given), importing_from(attempt.pipe_root):
        result = apply(
            load_pipe(task.pipe, attempt.pipe_root),
            host=RemoteTargets(binding),
            input=bundle,
            output=task.output,
            params=dict(task.params),
            options=options,
            progress=progress,
        )
    return Done(result.entry.bundle.id, tuple(result.ran), tuple(result.reused))


def _check_as_planned(plan: RunPlan, task: PipeTask, root: Path) -> None:
    """Refuse a project or an interpreter that changed since the run was planned.

    An image holds what it was planned with; these the job sees itself. Raises InfraError.
    """
    module, again = task.pipe.rpartition(".")[0], f"bundlerun run IN OUT {task.pipe}"
    if source_digest(root, module) != task.code.source:
        raise InfraError(
            f"the source of {module} below {root} was edited after the run was planned", hint=again
        )
    here = local_environment()
    if here != plan.environment:
        raise InfraError(
            f"the job runs on {here}, and was planned for {plan.environment}: what is installed"
            " was changed meanwhile, or the job has another interpreter",
            hint=again,
        )


class RemoteTargets(Targets):
    """The targets of a job, looked for here and then on the remote.

    Each finished bundle is pushed at once.
    """

    def __init__(self, binding: Binding) -> None:
        store, remote = binding.store, binding.remote
        super().__init__(
            store, binding.context, fetch=lambda bundle: fetcher(store, remote, bundle)
        )
        self._binding = binding

    def find(self, task: ReuseKey) -> Entry | None:
        """See Targets."""
        here = super().find(task)
        if here is not None:
            return here
        id = find_reuse(self._binding.remote, task)
        return None if id is None else pull_id(self._binding, id)

    def external(self, wanted: External) -> Entry:
        """See Targets."""
        if wanted.tags:
            pull_all(self._binding, wanted.name, all_versions=True)
        else:
            pull_latest(self._binding, wanted.name)
        return super().external(wanted)

    def finished(self, entry: Entry) -> None:
        """See Targets."""
        if not entry.pushed:
            push(self._binding, [entry])
