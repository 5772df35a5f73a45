"""The proof that work is deterministic: two makings of a bundle, compared by pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bundlerun.bundles.lineage import Parent

if TYPE_CHECKING:
    from bundlerun.bundles.record import BundleRecord

Find = Callable[[Parent], "BundleRecord | None"]
"""The bundle that a lineage mentions; None where only its mention is left."""


def where_two_makings_part(
    first: BundleRecord, second: BundleRecord, find: Find
) -> list[tuple[Parent, Parent]]:
    """The differing outputs, in ``first`` and ``second``, of pipes with equal inputs.

    Those pipes are not deterministic. Empty when the two values are equal. ``find`` looks up
    ancestors; one that it does not know is given itself where it differs.
    """
    found: list[tuple[Parent, Parent]] = []
    seen: set[tuple[str, str]] = set()
    waiting = [(_mentioned(first), _mentioned(second))]
    while waiting:
        old, new = waiting.pop()
        if old.root == new.root or (old.id, new.id) in seen:
            continue
        seen.add((old.id, new.id))
        differing = _differing_parents(old, new, first, second, find)
        if differing:
            waiting.extend(differing)
        else:
            found.append((old, new))
    return found


def _differing_parents(
    old: Parent, new: Parent, first: BundleRecord, second: BundleRecord, find: Find
) -> list[tuple[Parent, Parent]]:
    was = first if old.id == first.id else find(old)
    now = second if new.id == second.id else find(new)
    if was is None or now is None:
        return []
    by_role = {parent.role: parent for parent in was.lineage.parents}
    return [
        (by_role[parent.role], parent)
        for parent in now.lineage.parents
        if parent.role in by_role and by_role[parent.role].root != parent.root
    ]


def _mentioned(bundle: BundleRecord) -> Parent:
    return Parent("output", bundle.name, bundle.id, bundle.root.digest)
