"""The lineage of a bundle: the pipe, its inputs, its code and its image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundlerun import html
from bundlerun.bundles.digest import Digest, canonical_json, checked_digest, digest_of
from bundlerun.bundles.fields import Fields
from bundlerun.formatting import ID_SHOWN, pairs


@dataclass(frozen=True)
class Parent:
    """A bundle that went in.

    ``role`` is "pipeline_input", "external:KEY" or the dependency's key.
    """

    role: str
    name: str
    id: str
    root: Digest


@dataclass(frozen=True)
class CodeVersion:
    """The version of a pipe's code.

    ``source``: digest of the pipe's module and the project modules it imports; ``commit``: git's,
    None outside a checkout; ``dirty``: whether the checkout differed from it; ``files``: the first
    digits of each file's digest, by its path below the project's root, so that a changed file can
    be named. It follows from what ``source`` digests, so it is not compared; empty where the files
    are too many for a record.
    """

    source: Digest
    commit: str | None = None
    dirty: bool = False
    files: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class ReuseKey:
    """The key of equal work: named parts, each a short text, and their digest.

    The parts are kept so that a miss can be explained part by part.
    """

    parts: Mapping[str, str]

    @property
    def digest(self) -> Digest:
        """The digest of all parts, whatever their order."""
        return digest_of(canonical_json(sorted(self.parts.items())))


@dataclass(frozen=True)
class Lineage:
    """The origin of a bundle: how it was made.

    All empty: it was added, and no pipe made it. ``pipe`` is module-qualified; ``image`` names the
    image by digest where it has one; ``run`` is the id of the run that made it; ``started_s`` and
    ``finished_s`` are Unix seconds; ``task`` is the key that apply and the worker look for,
    ``request`` the client's.
    """

    pipe: str | None = None
    parents: tuple[Parent, ...] = ()
    code: CodeVersion | None = None
    image: str | None = None
    run: str | None = None
    task: ReuseKey | None = None
    request: ReuseKey | None = None
    started_s: float | None = None
    finished_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON form; what is empty is left out."""
        code = self.code and {
            "source": self.code.source,
            "commit": self.code.commit,
            "dirty": self.code.dirty,
            **({"files": dict(sorted(self.code.files.items()))} if self.code.files else {}),
        }
        full = {
            "pipe": self.pipe,
            "parents": [[p.role, p.name, p.id, p.root] for p in self.parents],
            "code": code,
            "image": self.image,
            "run": self.run,
            "task": self.task and dict(sorted(self.task.parts.items())),
            "request": self.request and dict(sorted(self.request.parts.items())),
            "started_s": self.started_s,
            "finished_s": self.finished_s,
        }
        return {key: value for key, value in full.items() if value not in (None, [])}

    @staticmethod
    def from_json(found: Any) -> Lineage:
        """The inverse of ``to_json``.

        Raises IntegrityError for anything else.
        """
        fields = Fields(found, "not a lineage")
        code = fields.fields_or_none("code")
        task, request = fields.texts_or_none("task"), fields.texts_or_none("request")
        return Lineage(
            pipe=fields.text_or_none("pipe"),
            parents=tuple(
                Parent(role, name, id_, checked_digest(root))
                for role, name, id_, root in fields.rows("parents", 4)
            ),
            code=None if code is None else _code(code),
            image=fields.text_or_none("image"),
            run=fields.text_or_none("run"),
            task=None if task is None else ReuseKey(task),
            request=None if request is None else ReuseKey(request),
            started_s=fields.number_or_none("started_s"),
            finished_s=fields.number_or_none("finished_s"),
        )


def _code(fields: Fields) -> CodeVersion:
    return CodeVersion(
        source=checked_digest(fields.any("source")),
        commit=fields.text_or_none("commit"),
        dirty=fields.flag("dirty"),
        files=fields.texts_or_none("files") or {},
    )


@dataclass(frozen=True, repr=False)
class LineageTree:
    """A bundle and, upward, the bundles that it was made of.

    ``known`` is False for an ancestor of which only the mention is left (never committed, or
    removed).
    """

    role: str
    name: str
    id: str
    root: Digest
    known: bool
    lineage: Lineage = field(default_factory=Lineage)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[LineageTree, ...] = ()

    def __repr__(self) -> str:
        return f"<LineageTree of {self.name}@{self.id[:ID_SHOWN]}, {len(self.parents)} parents>"

    def _repr_html_(self) -> str:
        """For notebooks: the tree, upward; what many were made of is drawn once."""
        return str(self._drawn(set()))

    def _drawn(self, drawn: set[str]) -> html.Fragment:
        said = [f"{self.role} = " if self.role else "", f"{self.name}@{self.id[:ID_SHOWN]}"]
        said += [] if self.known else ["  (not here: only its mention is left)"]
        said += [f"  {self.lineage.pipe}"] if self.lineage.pipe else []
        said += [f"  {pairs(self.params)}"] if self.params else []
        if self.id in drawn and self.parents:
            return html.text("".join([*said, "  (as above)"]))
        drawn.add(self.id)
        return html.tree("".join(said), [parent._drawn(drawn) for parent in self.parents])
