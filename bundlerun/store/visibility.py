"""The visible part of a context in one run of a pipe: what it was given, or made.

What pipes at work make stands in the table ``inner_bundles`` until the outermost of them has ended:
then it stays or goes as a whole. Nobody else sees it before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from bundlerun.errors import BundleNotFound, UsageError


@dataclass(frozen=True)
class Visibility:
    """One run of a pipe called ``pipe``.

    ``path`` is made of a token for each pipe that is at work around it, the outermost first, each
    ended by a slash; ``given`` are ids of bundles.
    """

    path: str
    pipe: str
    given: frozenset[str]
    _found: dict[str, None] = field(default_factory=dict)

    def see(self, id: str) -> None:
        """Count equal work that was found as made."""
        if id not in self.given:
            self._found[id] = None

    @property
    def found(self) -> list[str]:
        """The ids of what was seen besides what was given."""
        return list(self._found)

    def not_found(self, which: str) -> BundleNotFound:
        """The error for a bundle that is not seen."""
        name = which.partition("@")[0]
        key = name if name.isidentifier() else "data"
        return BundleNotFound(
            f"{self.pipe} does not see the bundle {which!r}: a pipe sees its inputs, "
            "its dependencies and what it made itself",
            hint=f'requires() with {{"{key}": br.external("{name}")}}, and {key} as an argument of'
            " pipe_run",
        )

    def not_its_own(self, name: str) -> UsageError:
        """The error for a change of a bundle that the pipe has not made."""
        return UsageError(
            f"{self.pipe} did not make the bundle {name!r}, so it cannot change it",
            hint=f"bundlerun commit, tag or rm {name}, when the pipe has ended",
        )


def condition(visibility: Visibility | None) -> tuple[str, list[object]]:
    """The SQL condition for bundles that ``visibility`` shows, and its values.

    It is on a row ``b`` of the table bundles. None for ``visibility``: as seen from outside of any
    pipe.
    """
    if visibility is None:
        return "NOT EXISTS (SELECT 1 FROM inner_bundles i WHERE i.bundle = b.seq)", []
    return (
        "(b.id IN (SELECT value FROM json_each(?))"
        " OR EXISTS (SELECT 1 FROM inner_bundles i WHERE i.bundle = b.seq AND i.scope = ?))",
        [_ids([*visibility.given, *visibility.found]), visibility.path],
    )


def equal_work(visibility: Visibility | None) -> tuple[str, list[object]]:
    """The SQL condition for bundles to reuse as equal work, and its values.

    It is on a row ``b``, as that of ``condition``. Of what is not settled yet, it has only what
    goes if ``visibility`` goes.
    """
    return (
        "NOT EXISTS (SELECT 1 FROM inner_bundles i WHERE i.bundle = b.seq"
        " AND substr(?, 1, length(i.scope)) <> i.scope)",
        ["" if visibility is None else visibility.path],
    )


def _ids(ids: Iterable[str]) -> str:
    return json.dumps(list(ids))
