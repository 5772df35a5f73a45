"""The task that a job carries out, of one of several kinds, in the job's plan.

A new kind is a class as ``PipeTask`` is, one more in ``Task``, and a row of ``TASKS``: the row
names the function that carries it out inside a job.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from bundlerun.backends.job import Resources
from bundlerun.bundles.digest import Digest, checked_digest, digest_of
from bundlerun.bundles.lineage import CodeVersion, Lineage, Parent, ReuseKey
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord, checked_id, checked_name
from bundlerun.errors import Conflict, IntegrityError
from bundlerun.pipelines.overrides import Given
from bundlerun.registry import Row

INPUT_ROLE = "pipeline_input"


@dataclass(frozen=True)
class PipeTask:
    """One pipe over one input bundle, or none, and the bundle that it is to make.

    ``output_id`` is chosen by the client, so that a later look knows what to look for.
    ``left_out`` has the digests of the files that the image left out for their size, by path, and
    is None where the job sees the project itself.
    ``given`` is what ``--set`` and ``--env`` say.
    """

    kind: ClassVar[str] = "pipe"

    pipe: str
    input: Parent | None
    output: str
    output_id: str
    code: CodeVersion
    request: ReuseKey
    params: Mapping[str, str] = field(default_factory=dict)
    output_tags: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    force_all: bool = False
    left_out: Mapping[str, Digest] | None = field(default_factory=dict)
    given: Given = field(default_factory=Given)

    @property
    def subject(self) -> str:
        """The subject of the run, as people name it: the pipe."""
        return self.pipe

    @property
    def inputs(self) -> tuple[Parent, ...]:
        """The bundles that must be on the remote before a job begins."""
        return () if self.input is None else (self.input,)

    @property
    def env(self) -> Mapping[str, str]:
        """The variables that the job is given."""
        return self.given.env

    @property
    def marks(self) -> tuple[str, str]:
        """The marks by which a listing of runs is searched: the output, and the work."""
        return self.output, str(self.request.digest)

    def does_the_work_of(self, other: Task) -> bool:
        """Whether who asked for ``other`` can have this instead.

        It must be the same request, for the same output and with the same tags.
        """
        if not isinstance(other, PipeTask):
            return False
        same = self.request == other.request and self.output == other.output
        return same and dict(self.output_tags) == dict(other.output_tags)

    def promised(self) -> BundleRecord:
        """The output as far as it is known before the job: all but its value."""
        return BundleRecord(
            id=self.output_id,
            name=self.output,
            root=Link(digest_of(b""), 0),
            params=self.params,
            tags=self.output_tags,
            lineage=Lineage(
                pipe=self.pipe, parents=self.inputs, code=self.code, request=self.request
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        given = self.input
        return {
            "kind": self.kind,
            "pipe": self.pipe,
            "input": given and {"name": given.name, "id": given.id, "root": given.root},
            "output": self.output,
            "output_id": self.output_id,
            "code": dataclasses.asdict(self.code),
            "request": dict(sorted(self.request.parts.items())),
            "params": dict(self.params),
            "output_tags": dict(self.output_tags),
            "force": self.force,
            "force_all": self.force_all,
            "left_out": None if self.left_out is None else dict(self.left_out),
            "config": dict(self.given.config),
            "env": dict(self.given.env),
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> PipeTask:
        """The inverse of ``to_json``.

        Raises IntegrityError, KeyError, TypeError, ValueError or AttributeError for anything else.
        """
        return PipeTask(
            pipe=str(found["pipe"]),
            input=None if found["input"] is None else _input(found["input"]),
            output=checked_name(found["output"]),
            output_id=checked_id(found["output_id"]),
            code=_code(found["code"]),
            request=ReuseKey(dict(found["request"])),
            params=dict(found["params"]),
            output_tags=dict(found["output_tags"]),
            force=bool(found["force"]),
            force_all=bool(found["force_all"]),
            left_out=None if found["left_out"] is None else _digests(found["left_out"]),
            given=Given.of(found["config"], found["env"]),
        )


@dataclass(frozen=True)
class CallTask:
    """One function over many items, each with an outcome of its own.

    ``func`` names the function, as ``module.qualname``; ``function`` is the run that it was sent
    with and ``function_seal`` its seal by the key of this one, where that is another one. ``packs``
    is how many of the ``items`` each pack holds, in their order; ``chunk`` how many one job works
    through unless its part says otherwise. ``python`` (X.Y) and ``cloudpickle`` are those that the
    function and the items were pickled with; ``requirements`` what its environment was made of.
    ``timeout_s`` is the limit of one item, None: none. ``resources``, ``env``, ``retries`` and
    ``memory_factor`` are what another submission of some of the items needs to know. ``output`` is
    the bundle that the results become when all succeeded, empty: none; ``parents`` are the bundles
    among the items. ``seal`` is that of the plan, as ``calls.sealed_plan`` makes it.
    """

    kind: ClassVar[str] = "call"

    func: str
    items: int
    chunk: int
    packs: tuple[int, ...]
    python: str
    cloudpickle: str
    code: CodeVersion
    function: str = ""
    function_seal: str = ""
    requirements: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    timeout_s: float | None = None
    retries: int = 0
    memory_factor: float = 1.0
    env: Mapping[str, str] = field(default_factory=dict)
    output: str = ""
    output_id: str = ""
    output_tags: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[Parent, ...] = ()
    seal: str = ""

    @property
    def subject(self) -> str:
        """The subject of the run, as people name it: the function."""
        return self.func

    @property
    def inputs(self) -> tuple[Parent, ...]:
        """The bundles that must be on the remote before a job begins."""
        return self.parents

    @property
    def marks(self) -> tuple[str, str]:
        """The marks by which a listing of runs is searched: the output, and the work."""
        return self.output, f"{self.func} {self.code.source}"

    def does_the_work_of(self, other: Task) -> bool:
        """False: what a function does with the same items is not known to be the same."""
        return False

    def promised(self) -> BundleRecord:
        """The output as far as it is known before the jobs: all but its value.

        Raises Conflict where the results are not kept as a bundle.
        """
        if not self.output:
            raise Conflict(
                f"the results of {self.func} were not asked to become a bundle",
                hint='map(..., output="NAME")',
            )
        return BundleRecord(
            id=self.output_id,
            name=self.output,
            root=Link(digest_of(b""), 0),
            tags=self.output_tags,
            lineage=Lineage(pipe=self.func, parents=self.parents, code=self.code),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": self.kind,
            "func": self.func,
            "items": self.items,
            "chunk": self.chunk,
            "packs": list(self.packs),
            "python": self.python,
            "cloudpickle": self.cloudpickle,
            "code": dataclasses.asdict(self.code),
            "function": self.function,
            "function_seal": self.function_seal,
            "requirements": list(self.requirements),
            "resources": dataclasses.asdict(self.resources),
            "timeout_s": None if self.timeout_s is None else float(self.timeout_s),
            "retries": self.retries,
            "memory_factor": float(self.memory_factor),
            "env": dict(self.env),
            "output": self.output,
            "output_id": self.output_id,
            "output_tags": dict(self.output_tags),
            "parents": [[p.role, p.name, p.id, p.root] for p in self.parents],
            "seal": self.seal,
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> CallTask:
        """The inverse of ``to_json``.

        Raises IntegrityError, KeyError, TypeError, ValueError or AttributeError for anything else.
        """
        packs = tuple(_number(count, 1) for count in found["packs"])
        if sum(packs) != found["items"]:
            raise ValueError(f"packs of {sum(packs)} items, and {found['items']!r:.20} items")
        return CallTask(
            func=str(found["func"]),
            items=_number(found["items"], 0),
            chunk=_number(found["chunk"], 1),
            packs=packs,
            python=str(found["python"]),
            cloudpickle=str(found["cloudpickle"]),
            code=_code(found["code"]),
            function=checked_id(found["function"]) if found["function"] else "",
            function_seal=str(found["function_seal"]),
            requirements=tuple(str(line) for line in found["requirements"]),
            resources=Resources(**found["resources"]),
            timeout_s=None if found["timeout_s"] is None else float(found["timeout_s"]),
            retries=_number(found["retries"], 0),
            memory_factor=float(found["memory_factor"]),
            env=dict(found["env"]),
            output=checked_name(found["output"]) if found["output"] else "",
            output_id=checked_id(found["output_id"]) if found["output"] else "",
            output_tags=dict(found["output_tags"]),
            parents=tuple(
                Parent(role, checked_name(name), checked_id(id), checked_digest(root))
                for role, name, id, root in found["parents"]
            ),
            seal=str(found["seal"]),
        )


Task: TypeAlias = PipeTask | CallTask
"""The task that a plan carries.

Each kind has the properties ``kind``, ``subject``, ``inputs``, ``env``, ``marks``, ``output``,
``output_id`` and ``output_tags``, and the methods ``does_the_work_of``, ``promised``, ``to_json``
and ``from_json``.
"""


@dataclass(frozen=True)
class Kind:
    """A kind of task: its class, and the function that carries one out inside a job.

    The function is as ``worker.Carry`` says. It is named, not imported: it brings what only a job
    needs. ``verbs`` names what waits for, looks at and ends runs of this kind, as ``watch.Verbs``
    says; None: they have one job, which ``watch`` and ``settle`` know.
    """

    type: type[Task]
    carry: Row
    verbs: Row | None = None


TASKS: Mapping[str, Kind] = {
    PipeTask.kind: Kind(PipeTask, Row("bundlerun.runs.carry_pipe:carry_pipe")),
    CallTask.kind: Kind(
        CallTask,
        Row("bundlerun.runs.calls.carry:carry_call"),
        Row("bundlerun.runs.calls.client:CallVerbs"),
    ),
}
"""Every kind of task by its name in a plan: read with a plan, and by the worker."""


def kind_of(found: object) -> str:
    """The kind that the JSON form of a task says it is of.

    Raises IntegrityError.
    """
    kind = found.get("kind") if isinstance(found, dict) else None
    if not isinstance(kind, str):
        raise IntegrityError("a task without a kind")
    return kind


def task_of(found: Any) -> Task:
    """The task of a JSON form.

    Raises IntegrityError for an unknown kind, and as ``from_json``.
    """
    kind = kind_of(found)
    if kind not in TASKS:
        raise IntegrityError(
            f"a task of the kind {kind!r:.40} is not known to this bundlerun, which knows"
            f" {', '.join(TASKS)}",
            hint="pip install --upgrade bundlerun",
        )
    return TASKS[kind].type.from_json(found)


def _code(found: Mapping[str, Any]) -> CodeVersion:
    return CodeVersion(checked_digest(found["source"]), found["commit"], found["dirty"])


def _number(found: object, least: int) -> int:
    if type(found) is not int or found < least:
        raise ValueError(f"{found!r:.40} is not a number from {least}")
    return found


def _digests(found: Mapping[str, Any]) -> dict[str, Digest]:
    return {path: checked_digest(digest) for path, digest in found.items()}


def _input(found: Mapping[str, Any]) -> Parent:
    return Parent(
        role=INPUT_ROLE,
        name=checked_name(found["name"]),
        id=checked_id(found["id"]),
        root=checked_digest(found["root"]),
    )
