"""How an apply is to be done, and what its records are to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.lineage import CodeVersion, ReuseKey
from bundlerun.pipelines.given import Given


@dataclass(frozen=True)
class ApplyOptions:
    """How an apply is to be done, and what its records are to say.

    ``workers`` over 1 runs pipes in child processes; ``force`` runs the last pipe whatever is
    there, ``force_all`` every pipe; ``commit`` commits all outputs. ``environment`` None: this
    machine's; ``pipe_root``: where a script that runs as ``__main__`` counts from (None: the
    working directory). ``code`` gives git's commit and state where there is no git (None: ask
    git); ``run``, ``image`` and ``request`` go into the lineage; ``output_id`` is the id that
    the output is to have when it is made. ``left_out`` is given inside an image: the digests of
    what its build left out for its size, by path. ``given`` is what ``--set`` and ``--env`` say.
    """

    workers: int = 1
    force: bool = False
    force_all: bool = False
    output_tags: Mapping[str, str] = field(default_factory=dict)
    commit: bool = False
    environment: str | None = None
    pipe_root: Path | None = None
    code: CodeVersion | None = None
    run: str | None = None
    image: str | None = None
    request: ReuseKey | None = None
    output_id: str | None = None
    left_out: Mapping[str, Digest] | None = None
    given: Given = field(default_factory=Given)
