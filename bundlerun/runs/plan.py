"""The plan of a request, made without side effects: what `--dry-run` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.lineage import CodeVersion, Parent, ReuseKey
from bundlerun.bundles.record import (
    FORMAT,
    check_format,
    checked_id,
    checked_name,
    new_id,
    parse_record,
)
from bundlerun.errors import IntegrityError, NotCommitted
from bundlerun.pipelines.overrides import check_files, checked, in_key, luigi_files
from bundlerun.pipelines.reuse_key import request_key
from bundlerun.pipelines.schema import normalised, significant
from bundlerun.remotes.push import find_reuse
from bundlerun.runs.task import INPUT_ROLE, PipeTask, Task, task_of

if TYPE_CHECKING:
    from bundlerun.images.described import Described
    from bundlerun.remotes.binding import Binding
    from bundlerun.runs.request import RunRequest
    from bundlerun.store.contexts import Context
    from bundlerun.store.store import Store


@dataclass(frozen=True)
class Interpreter:
    """The code of a job without an image: a Python that has bundlerun, and a folder.

    The pipe's module is below the folder; both are as the job sees them.
    """

    python: str
    pipe_root: str


@dataclass(frozen=True)
class Place:
    """The description of a run's module, and where its jobs find it.

    That is the image ``image`` (the most exact name that an engine or service can start), or with
    ``interpreter``.
    """

    described: Described
    image: str | None = None
    interpreter: Interpreter | None = None


@dataclass(frozen=True)
class RunPlan:
    """Everything that a job must know: a task, and where it is carried out.

    ``image`` is where the image of the job lies, None where it runs without one; ``environment``
    what the task's code runs on, as keys and records name it. ``array`` is how many jobs carry the
    task out, each at an index of its own, from 0. ``found`` is the id of a bundle that equal work
    made already, or None, and ``interpreter`` where a job without an image has its code: neither
    travels. ``options`` are those of the backend's settings by which its jobs are found, and more
    of them submitted, also by other clients.
    """

    run_id: str
    backend: str
    image: str | None
    environment: str
    task: Task
    array: int = 1
    found: str | None = None
    interpreter: Interpreter | None = None
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON form, as it lies on the remote for the job to read."""
        return {
            "format": FORMAT,
            "run_id": self.run_id,
            "backend": self.backend,
            "image": self.image,
            "environment": self.environment,
            "array": self.array,
            "options": dict(self.options),
            "task": self.task.to_json(),
        }

    def to_bytes(self) -> bytes:
        """The plan as canonical JSON."""
        return canonical_json(self.to_json())

    @staticmethod
    def from_json(found: Any) -> RunPlan:
        """The inverse of ``to_json``.

        Raises IntegrityError.
        """
        check_format(found)
        try:
            if type(found["array"]) is not int or found["array"] < 1:
                raise ValueError(f"an array of {found['array']!r:.20}")
            return RunPlan(
                run_id=checked_id(found["run_id"]),
                backend=str(found["backend"]),
                image=None if found["image"] is None else str(found["image"]),
                environment=str(found["environment"]),
                task=task_of(found["task"]),
                array=found["array"],
                options={str(name): str(text) for name, text in found["options"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"not a run plan: {error!r:.200}") from error

    @staticmethod
    def from_bytes(data: bytes) -> RunPlan:
        """The inverse of ``to_bytes``.

        Raises IntegrityError.
        """
        return RunPlan.from_json(parse_record(data))


def plan_run(request: RunRequest, binding: Binding, place: Place) -> RunPlan:
    """The plan of ``request``, by the catalog and the remote; nothing is written.

    The remote is read for equal work done elsewhere. Raises BundleNotFound or NotCommitted for the
    input, BadParameter for parameters and settings that the record of the pipe does not know,
    SettingsError where a luigi file sets what the pipeline's classes have.
    """
    checked_name(request.output)
    described = place.described
    schema = described.schema["pipes"][request.pipe]
    sections = described.schema["config"]
    given = checked(request.given, sections)
    check_files(given, sections, luigi_files())
    set_params = given.of_pipe(request.pipe, schema["params"])
    params = normalised(schema, {**set_params, **request.params})
    parent = _input(request, binding.store, binding.context)
    key = request_key(
        pipe=request.pipe,
        source=described.source,
        params=significant(schema, params),
        input_root=None if parent is None else parent.root,
        environment=described.environment,
        config=in_key(given, sections),
        env=given.env,
    )
    forced = request.force or request.force_all
    found = None if forced else _equal_work(key, binding)
    task = PipeTask(
        pipe=request.pipe,
        input=parent,
        output=request.output,
        output_id=new_id(),
        code=CodeVersion(described.source, described.commit, described.dirty),
        request=key,
        params=params,
        output_tags=request.output_tags,
        force=request.force,
        force_all=request.force_all,
        left_out=described.left_out,
        given=given,
    )
    return RunPlan(
        run_id=new_id(),
        backend=request.backend,
        image=place.image,
        environment=described.environment,
        task=task,
        found=found,
        interpreter=place.interpreter,
    )


def _input(request: RunRequest, store: Store, context: Context) -> Parent | None:
    if request.input is None:
        return None
    name, _, prefix = request.input.partition("@")
    entry = store.catalog.get(
        context, name, id_prefix=prefix or None, tags=dict(request.input_tags) or None
    )
    if not entry.committed:
        raise NotCommitted(
            f"{name}@{entry.bundle.id[:13]} is not committed, and only committed bundles travel",
            hint=f"bundlerun commit {name}",
        )
    bundle = entry.bundle
    return Parent(INPUT_ROLE, bundle.name, bundle.id, bundle.root.digest)


def _equal_work(key: ReuseKey, binding: Binding) -> str | None:
    entry = binding.store.catalog.by_request(binding.context, key.digest, committed_only=True)
    return entry.bundle.id if entry is not None else find_reuse(binding.remote, key)
