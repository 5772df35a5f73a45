"""The table of the kinds of value.

A new kind is a module that says how it is written and read, and its row here. Every walker over
values (encode, decode, walk, select, view, outline, diff, and the cells of tables) goes by the rows
alone.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from bundlerun.bundles.value import arrays, files, kind, nested, scalars, tables
from bundlerun.bundles.value.kind import CannotKeep, Container


def _check_bare(value: Any) -> None:
    """Attributes that somebody set on a Counter would be lost."""
    if getattr(value, "__dict__", None):
        names = ", ".join(map(repr, value.__dict__))
        raise CannotKeep(
            f"a {type(value).__name__} with attributes ({names:.80})",
            hint="collections.Counter(dict(value)), with the attributes as entries of their own",
        )


kind.add(
    (
        *scalars.KINDS,
        Container(tag="list", makes=list),
        Container(tag="tuple", makes=tuple),
        Container(tag="dict", makes=dict, is_mapping=True),
        Container(tag="Counter", makes=Counter, is_mapping=True, check=_check_bare, absent=int),
        files.FILE,
        files.DIRECTORY,
        nested.BUNDLE,
        arrays.SCALAR,
        arrays.ARRAY,
        tables.TABLE,
    )
)
