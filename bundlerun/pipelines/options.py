"""The options of an apply and of a run, as the command line has them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from bundlerun.errors import UsageError

Chosen = TypeVar("Chosen", bound="Keywords")


@dataclass(frozen=True, kw_only=True)
class Keywords:
    """Options that a verb takes as a value, and each by its name."""

    _of: ClassVar[str]
    _others: ClassVar[str] = ""
    """The other places of keywords that are not options."""

    @classmethod
    def chosen(cls: type[Chosen], options: Chosen | None, more: Mapping[str, Any]) -> Chosen:
        """``options``, None: the usual ones, with those of ``more`` changed.

        Raises UsageError for what are not such options.
        """
        if options is not None and not isinstance(options, cls):
            raise UsageError(
                f"options must be {cls.__name__}, not {type(options).__name__}",
                hint=f"each option by its name, or options=bundlerun.{cls.__name__}(...)",
            )
        return (options or cls()).but(**more)

    def but(self: Chosen, **changes: Any) -> Chosen:
        """The options with some of them changed.

        Raises UsageError for what is not an option.
        """
        names = [each.name for each in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                kind = type(self).__name__
                near = difflib.get_close_matches(name, names, 1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(
                    f"{name!r} is not an option of {self._of}{meant}",
                    hint=f"help(bundlerun.{kind}){self._others}",
                )
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Options(Keywords):
    """The options that an apply and a run have in common.

    ``force`` runs the last pipe and ``force_all`` every pipe although equal work was done.
    ``input_tags`` select the input, ``output_tags`` stand on the output. ``config`` sets what
    configuration classes take, ``{"Section.key": value}``, and ``env`` has variables for the pipes;
    both are in the key. ``secrets`` names variables that the pipes need and that stand in no key; a
    failure has their values masked.
    """

    _others = "; a pipe's own parameters go into params={...}"

    force: bool = False
    force_all: bool = False
    input_tags: Mapping[str, str] = field(default_factory=dict)
    output_tags: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    env: Mapping[str, str] | None = None
    secrets: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ApplyOptions(Options):
    """The options of an apply.

    ``workers`` over 1 runs pipes in child processes. ``commit`` commits all outputs. ``pipe_root``
    is the folder below which ``package.module.Class`` is found (None: the working directory).
    ``luigid`` is the address of a luigi central scheduler that is told of the graph ("": none,
    None: the one in the settings).

    ``force`` runs the last pipe and ``force_all`` every pipe although equal work was done.
    ``input_tags`` select the input, ``output_tags`` stand on the output. ``config`` sets what
    configuration classes take, ``{"Section.key": value}``, and ``env`` has variables for the pipes;
    both are in the key. ``secrets`` names variables that the pipes need and that stand in no key; a
    failure has their values masked.
    """

    _of = "an apply"

    workers: int = 1
    commit: bool = False
    pipe_root: str | Path | None = None
    luigid: str | None = None
