"""What a job carries out: a task, of one of several kinds, which its plan carries.

A new kind is a class as ``PipeTask`` is, one more in ``Task``, and a row of ``TASKS``: the row
names the function that carries it out inside a job.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from bundlerun.bundles.digest import Digest, checked_digest, digest_of
from bundlerun.bundles.lineage import CodeVersion, Lineage, Parent, ReuseKey
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord, checked_id, checked_name
from bundlerun.errors import IntegrityError
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

    def promised(self) -> BundleRecord:
        """The output as far as it is known before the job: all but its value."""
        parents = () if self.input is None else (self.input,)
        return BundleRecord(
            id=self.output_id,
            name=self.output,
            root=Link(digest_of(b""), 0),
            params=self.params,
            tags=self.output_tags,
            lineage=Lineage(pipe=self.pipe, parents=parents, code=self.code, request=self.request),
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
        """The inverse of ``to_json``. Raises IntegrityError, KeyError, TypeError, ValueError or
        AttributeError for anything else."""
        code = found["code"]
        return PipeTask(
            pipe=str(found["pipe"]),
            input=None if found["input"] is None else _input(found["input"]),
            output=checked_name(found["output"]),
            output_id=checked_id(found["output_id"]),
            code=CodeVersion(checked_digest(code["source"]), code["commit"], code["dirty"]),
            request=ReuseKey(dict(found["request"])),
            params=dict(found["params"]),
            output_tags=dict(found["output_tags"]),
            force=bool(found["force"]),
            force_all=bool(found["force_all"]),
            left_out=None if found["left_out"] is None else _digests(found["left_out"]),
            given=Given.of(found["config"], found["env"]),
        )


Task: TypeAlias = PipeTask
"""What a plan carries; with a second kind, a union."""


@dataclass(frozen=True)
class Kind:
    """A kind of task: its class, and the function that carries one out inside a job, as
    ``worker.Carry`` says. The function is named, not imported: it brings what only a job needs."""

    type: type[Task]
    carry: Row


TASKS: Mapping[str, Kind] = {
    PipeTask.kind: Kind(PipeTask, Row("bundlerun.runs.carry_pipe:carry_pipe")),
}
"""Every kind of task by its name in a plan: read with a plan, and by the worker."""


def kind_of(found: object) -> str:
    """The kind that the JSON form of a task says it is of. Raises IntegrityError."""
    kind = found.get("kind") if isinstance(found, dict) else None
    if not isinstance(kind, str):
        raise IntegrityError("a task without a kind")
    return kind


def task_of(found: Any) -> Task:
    """The task of a JSON form. Raises IntegrityError for an unknown kind, and as ``from_json``."""
    kind = kind_of(found)
    if kind not in TASKS:
        raise IntegrityError(
            f"a task of the kind {kind!r:.40} is not known to this bundlerun, which knows"
            f" {', '.join(TASKS)}",
            hint="pip install --upgrade bundlerun",
        )
    return TASKS[kind].type.from_json(found)


def _digests(found: Mapping[str, Any]) -> dict[str, Digest]:
    return {path: checked_digest(digest) for path, digest in found.items()}


def _input(found: Mapping[str, Any]) -> Parent:
    return Parent(
        role=INPUT_ROLE,
        name=checked_name(found["name"]),
        id=checked_id(found["id"]),
        root=checked_digest(found["root"]),
    )
