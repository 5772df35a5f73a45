"""The hints of errors as callers in Python write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bundlerun.errors import BundlerunError

_OPTION = re.compile(r"--([a-z][a-z-]*)(?: ([^\s,;]+))?")
_BARE = re.compile(r"[0-9.]+|[A-Z_]+")


def as_arguments(hint: str) -> str:
    """``hint`` with keyword arguments in place of options of a command.

    As ``timeout_s=60`` for ``--timeout-s 60``. The options of a command to type stay as they are.
    """
    return "; ".join(
        _OPTION.sub(_argument, clause) if clause.startswith(("--", "leave out --")) else clause
        for clause in hint.split("; ")
    )


def _argument(option: re.Match[str]) -> str:
    name, value = option[1].replace("-", "_"), option[2]
    if value is None:
        return name
    variable, equals, text = value.partition("=")
    if equals:
        return f'{name}={{"{variable}": "{text}"}}'
    return f"{name}={value}" if _BARE.fullmatch(value) else f'{name}="{value}"'


@contextmanager
def in_python() -> Iterator[None]:
    """Errors from the block have hints for callers in Python."""
    try:
        yield
    except BundlerunError as error:
        if error.hint is not None:
            error.hint = as_arguments(error.hint)
        raise
