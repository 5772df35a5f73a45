"""A dependency that no pipe makes: a bundle of the context, by name and tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bundlerun.bundles.bundle import checked_name


@dataclass(frozen=True)
class External:
    """The latest bundle called ``name`` that has all of ``tags``."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)


def external(name: str, tags: Mapping[str, str] | None = None) -> External:
    """For ``requires()``: the latest bundle called ``name`` that has all of ``tags``.

    Raises BadName. Whether there is one is asked when the pipeline runs.
    """
    return External(checked_name(name), dict(tags or {}))
