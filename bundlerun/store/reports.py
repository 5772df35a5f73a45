"""Reports of gc and fsck: findings, what was done about them, and what is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bundlerun.errors import BundlerunError


@dataclass(frozen=True)
class Reclaimed:
    """Things of one kind that nothing needs any more: how many, and their bytes."""

    kind: str
    count: int
    bytes: int


@dataclass(frozen=True)
class MostlyDead:
    """A pack kept for the little of it that is used.

    At least ``live`` of its ``size`` bytes are used, its index among them.
    """

    pack: str
    size: int
    live: int


@dataclass(frozen=True)
class GcReport:
    """The report of a clean-up: what it deleted or, ``deleted`` False, would delete.

    Of a remote, also what it condemned, to be deleted by a clean-up ``wait_s`` seconds later;
    ``waiting``, the packs that were condemned before and whose time has not come; and the packs
    that are mostly dead. ``returned``: bytes that the store's file gave back to the disk.
    """

    swept: tuple[Reclaimed, ...]
    deleted: bool
    condemned: Reclaimed | None = None
    waiting: Reclaimed | None = None
    wait_s: float = 0.0
    mostly_dead: tuple[MostlyDead, ...] = ()
    returned: int = 0

    @property
    def count(self) -> int:
        """The number of things, of all kinds."""
        return sum(swept.count for swept in self.swept)

    @property
    def bytes(self) -> int:
        """The number of bytes."""
        return sum(swept.bytes for swept in self.swept)


_ROUNDS = 3
"""How often a repair looks at everything at most."""


class Kind(Enum):
    """The kinds of findings.

    STALE, LITTER, HINT and ELSEWHERE are not damage.
    """

    DAMAGED = "damaged"  # it is not what it was written as
    MISSING = "missing"  # it must be there and is not
    MODE = "mode"  # others may write it, or cannot read it
    STALE = "stale"  # a copy for programs was written to, and the next reader gets a sound one
    LITTER = "litter"  # nothing needs it: a crash left it, or work is going on
    HINT = "hint"  # a look-up that saves work is not there
    ELSEWHERE = "elsewhere"  # its bytes are on the remote alone, as they may be


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    ``what`` names the object, bundle, pack or record, ``where`` the file, table or key, ``detail``
    what is wrong; ``mendable`` says how it can be mended, None where it cannot; ``mended`` that it
    was.
    """

    kind: Kind
    what: str
    where: str
    detail: str = ""
    mendable: str | None = None
    mended: bool = False

    @property
    def is_damage(self) -> bool:
        """Whether something is wrong, and still is."""
        return self.kind in (Kind.DAMAGED, Kind.MISSING, Kind.MODE) and not self.mended

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {**dataclasses.asdict(self), "kind": self.kind.value}


@dataclass(frozen=True)
class Fault:
    """A finding, and the function that mends it.

    ``mend`` raises BundlerunError where it cannot after all.
    """

    finding: Finding
    mend: Callable[[], None] | None = None


@dataclass(frozen=True)
class Proof:
    """The findings, and how many things of each sort were looked at."""

    findings: tuple[Finding, ...]
    looked_at: Mapping[str, int] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged, or all of it was mended."""
        return not any(finding.is_damage for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        findings = [finding.to_json() for finding in self.findings]
        return {"whole": self.whole, "looked_at": dict(self.looked_at), "findings": findings}


def until_mended(look: Callable[[], list[Fault]], *, repair: bool) -> tuple[Finding, ...]:
    """The findings of ``look``.

    With ``repair`` mended, and looked at again: what was hidden behind other damage is seen then,
    and what was mended is proven.
    """
    healed: list[Finding] = []
    findings: list[Finding] = []
    for _ in range(_ROUNDS if repair else 1):
        faults = look()
        findings = mended(faults) if repair else [fault.finding for fault in faults]
        done = [finding for finding in findings if finding.mended]
        healed += [finding for finding in done if finding not in healed]
        findings = [finding for finding in findings if not finding.mended]
        if not done:
            break
    # One that comes back each time was not mended after all.
    again = {(finding.what, finding.where) for finding in findings if finding.is_damage}
    return (*(f for f in healed if (f.what, f.where) not in again), *findings)


def mended(faults: Iterable[Fault]) -> list[Finding]:
    """Mend what can be mended; the findings afterwards.

    One failure stops no other.
    """
    findings = []
    for fault in faults:
        finding = fault.finding
        if fault.mend is not None:
            try:
                fault.mend()
                finding = dataclasses.replace(finding, mended=True)
            except (BundlerunError, OSError) as error:
                # OSError: the file is another user's, or went meanwhile, or the disk is full.
                why = error.message if isinstance(error, BundlerunError) else str(error)
                told = "; ".join(filter(None, [finding.detail, f"not mended: {why}"]))
                finding = dataclasses.replace(finding, detail=told)
        findings.append(finding)
    return findings
