"""The reason why a bundle was not found: the parts of its reuse key that differ.

They are compared with those of an earlier bundle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bundlerun.bundles.lineage import Parent, ReuseKey
from bundlerun.bundles.record import BundleRecord
from bundlerun.bundles.value.differences import Differences

_INPUT_ROLE = "pipeline_input"

_PARTS = ("pipe", "source", "params", "config", "env", "input", "dependencies", "environment")
"""In the order in which they are told."""

_GIVEN = ("config", "env")
"""Parts that a key has only where something was given."""

_LOCAL = ("python", "version", "platform", "installed distributions")
"""The meaning of the words of a local environment."""


MOST_IN_SHORT = 3
"""Changes of one part that are told on one line."""


class Verdict(Enum):
    """The verdict of the comparison."""

    ADDED = "added"  # no pipe made it
    FIRST = "first"  # nothing to compare it with
    DIFFERS = "differs"  # in the parts that are told
    REUSED = "reused"  # no pipe ran: its value is the earlier one's
    FORCED = "forced"  # nothing differed, and the pipe ran


@dataclass(frozen=True)
class Changed:
    """One thing that differs: a parameter, a source file, a dependency.

    ``old`` or ``new`` None: it was not there. ``parents`` are the bundles that went in before and
    now, and ``value`` is what differs between their values, where that was looked up.
    """

    what: str
    old: str | None
    new: str | None
    parents: tuple[Parent | None, Parent | None] = (None, None)
    value: Differences | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        found: dict[str, Any] = {"what": self.what, "old": self.old, "new": self.new}
        return found if self.value is None else {**found, "value": self.value.to_json()}


@dataclass(frozen=True)
class Reason:
    """A part of the key that differs, with its changes.

    ``note`` stands where they are not recorded.
    """

    part: str
    changes: tuple[Changed, ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        changes = [change.to_json() for change in self.changes]
        return {"part": self.part, "changes": changes, "note": self.note}


@dataclass(frozen=True)
class Why:
    """The reason why ``bundle`` was made.

    ``nearest`` is the earlier version that shares most parts with it.
    """

    bundle: BundleRecord
    verdict: Verdict
    nearest: BundleRecord | None = None
    reasons: tuple[Reason, ...] = ()
    same: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.bundle.name,
            "id": self.bundle.id,
            "verdict": self.verdict.value,
            "nearest": self.nearest and {"name": self.nearest.name, "id": self.nearest.id},
            "reasons": [reason.to_json() for reason in self.reasons],
            "same": list(self.same),
        }


def key_of(bundle: BundleRecord) -> ReuseKey | None:
    """The key that the bundle is compared by; None for one that no pipe made."""
    return bundle.lineage.task or bundle.lineage.request


def nearest(bundle: BundleRecord, earlier: Iterable[BundleRecord]) -> BundleRecord | None:
    """The newest of the ``earlier`` bundles that share most parts with ``bundle``.

    ``earlier`` are newest first.
    """
    best: tuple[int, BundleRecord] | None = None
    key = key_of(bundle)
    for each in earlier:
        other = key_of(each)
        if key is None or other is None:
            continue
        shared = len(key.parts.items() & other.parts.items())
        if best is None or shared > best[0]:
            best = (shared, each)
    return None if best is None else best[1]


def explain(bundle: BundleRecord, before: BundleRecord | None) -> Why:
    """The reasons why ``bundle`` is another than ``before``, part by part."""
    key = key_of(bundle)
    if key is None:
        return Why(bundle, Verdict.ADDED)
    old = None if before is None else key_of(before)
    if before is None or old is None:
        return Why(bundle, Verdict.FIRST)
    mine, theirs = dict(key.parts), dict(old.parts)
    for part in _GIVEN:
        if part in mine or part in theirs:
            mine.setdefault(part, "{}")
            theirs.setdefault(part, "{}")
    names = [part for part in _PARTS if part in mine and part in theirs]
    differ = [part for part in names if mine[part] != theirs[part]]
    if not differ:
        again = (bundle.lineage.started_s, bundle.lineage.finished_s)
        first = (before.lineage.started_s, before.lineage.finished_s)
        verdict = Verdict.REUSED if again == first else Verdict.FORCED
        return Why(bundle, verdict, before, same=tuple(names))
    reasons = tuple(_reason(part, before, bundle, theirs[part], mine[part]) for part in differ)
    same = tuple(part for part in names if part not in differ)
    return Why(bundle, Verdict.DIFFERS, before, reasons, same)


def in_short(why: Why) -> str | None:
    """The difference on one line, for the caller that just made the bundle.

    For reused work it says which bundle's work was equal. None where nothing differs.
    """
    if why.verdict is Verdict.REUSED and why.nearest is not None:
        found = f"{why.nearest.name}@{why.nearest.id[:18]}"
        return f"equal work was found: {found}; --force runs it again"
    if why.verdict is not Verdict.DIFFERS or why.nearest is None:
        return None
    parts = "; ".join(map(_told_in_short, why.reasons))
    return f"differs from {why.nearest.name}@{why.nearest.id[:18]}: {parts}"


def _told_in_short(reason: Reason) -> str:
    told = []
    for change in reason.changes[:MOST_IN_SHORT]:
        by_value = reason.part == "params"
        told.append(f"{change.what} {change.old} -> {change.new}" if by_value else change.what)
    if len(reason.changes) > MOST_IN_SHORT:
        told.append(f"{len(reason.changes) - MOST_IN_SHORT} more")
    words = ", ".join(told)
    return words if words == reason.part else f"{reason.part} {words}".rstrip()


def _reason(part: str, before: BundleRecord, bundle: BundleRecord, old: str, new: str) -> Reason:
    if part == "params":
        return Reason(part, tuple(_params(before, bundle, old, new)))
    if part in _GIVEN:
        return _given(part, old, new)
    if part == "source":
        return _source(before, bundle, old, new)
    if part == "input":
        return Reason(part, (_parent_changed("input", before, bundle, _INPUT_ROLE),))
    if part == "dependencies":
        return _dependencies(before, bundle, old, new)
    if part == "environment":
        return _environment(before, bundle, old, new)
    return Reason(part, (Changed(part, old, new),))


def _params(before: BundleRecord, bundle: BundleRecord, old: str, new: str) -> Iterator[Changed]:
    was, now = _rows(old), _rows(new)
    if was is None or now is None:
        # Too long for a key; the record has them all.
        was, now = dict(before.params), dict(bundle.params)
    yield from _changed(was, now)


def _given(part: str, old: str, new: str) -> Reason:
    was, now = _rows(old), _rows(new)
    if was is None or now is None:
        return Reason(part, (), "they are too many to be recorded one by one")
    return Reason(part, tuple(_changed(was, now)))


def _source(before: BundleRecord, bundle: BundleRecord, old: str, new: str) -> Reason:
    codes = before.lineage.code, bundle.lineage.code
    files = [dict(code.files) if code else {} for code in codes]
    if all(files):
        return Reason("source", tuple(_changed(files[0], files[1])))
    return Reason("source", (Changed("source", old, new),), "which files is not recorded")


def _dependencies(before: BundleRecord, bundle: BundleRecord, old: str, new: str) -> Reason:
    was, now = _rows(old), _rows(new)
    if was is None or now is None:
        return Reason("dependencies", (), "they are too many to be recorded one by one")
    keys = [key for key in dict.fromkeys([*was, *now]) if was.get(key) != now.get(key)]
    changes = [_parent_changed(key, before, bundle, key, f"external:{key}") for key in keys]
    return Reason("dependencies", tuple(changes))


def _environment(before: BundleRecord, bundle: BundleRecord, old: str, new: str) -> Reason:
    was, now = old.split(), new.split()
    if len(was) == len(now) == len(_LOCAL) and was[0] == now[0] == _LOCAL[0]:
        rows = [dict(zip(_LOCAL, words, strict=True)) for words in (was, now)]
        changes = [_named(each) for each in _changed(rows[0], rows[1])]
        return Reason("environment", tuple(changes))
    images = before.lineage.image, bundle.lineage.image
    kinds = [image or _kind(text) for image, text in zip(images, (old, new), strict=True)]
    note = "base image, system packages, requirements, Python or platform"
    return Reason("environment", (Changed("environment", kinds[0], kinds[1]),), note)


def _named(change: Changed) -> Changed:
    what = "python" if change.what == "version" else change.what
    return Changed(what, change.old, change.new)


def _kind(text: str) -> str:
    return text if text.startswith("python ") else f"image environment {text[:16]}"


def _parent_changed(what: str, before: BundleRecord, bundle: BundleRecord, *roles: str) -> Changed:
    old, new = (_parent(each, roles) for each in (before, bundle))
    return Changed(what, _label(old), _label(new), (old, new))


def _parent(bundle: BundleRecord, roles: tuple[str, ...]) -> Parent | None:
    return next((each for each in bundle.lineage.parents if each.role in roles), None)


def _label(parent: Parent | None) -> str | None:
    return None if parent is None else f"{parent.name}@{parent.id}"


def _rows(text: str) -> dict[str, str] | None:
    """A part that is JSON; None for one that only its digest was kept of."""
    if text.startswith("sha256:"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _changed(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Changed]:
    for name in dict.fromkeys([*was, *now]):
        if was.get(name) != now.get(name):
            yield Changed(name, was.get(name), now.get(name))
