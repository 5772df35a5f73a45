"""What a clean-up found, and what it did about it."""

from __future__ import annotations

from dataclasses import dataclass

GRACE_S = 7 * 86_400
"""What is younger than this is kept, unless another grace is set."""


@dataclass(frozen=True)
class Swept:
    """Things of one kind that nothing needs any more: how many, and their bytes."""

    kind: str
    count: int
    bytes: int


@dataclass(frozen=True)
class MostlyDead:
    """A pack that stays because a little of it is used: ``live`` of its ``size`` bytes or more, its
    index among them."""

    pack: str
    size: int
    live: int


@dataclass(frozen=True)
class GcReport:
    """What a clean-up deleted or, where ``deleted`` is False, would delete, by kind.

    Of a remote, also what it condemned, to be deleted by a clean-up ``wait_s`` seconds later;
    ``waiting``, the packs that were condemned before and whose time has not come; and the packs
    that are mostly dead. ``returned``: bytes that the store's file gave back to the disk.
    """

    swept: tuple[Swept, ...]
    deleted: bool
    condemned: Swept | None = None
    waiting: Swept | None = None
    wait_s: float = 0.0
    mostly_dead: tuple[MostlyDead, ...] = ()
    returned: int = 0

    @property
    def count(self) -> int:
        """How many things, of all kinds."""
        return sum(swept.count for swept in self.swept)

    @property
    def bytes(self) -> int:
        """How many bytes."""
        return sum(swept.bytes for swept in self.swept)
