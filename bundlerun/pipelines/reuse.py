"""What equal work has in common: the task key of apply, and the request key of the client.

Nothing here imports luigi or the user's code: the client computes its keys from what an image's
labels record of a pipe.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from bundlerun.bundles.digest import Digest, canonical_json, digest_of
from bundlerun.bundles.lineage import ReuseKey
from bundlerun.errors import BadParameter

MAX_PART_BYTES = 4096
"""A longer part of a key is kept as its digest: keys lie in every record."""

NO_INPUT = "-"
"""The part ``input`` of work that has no pipeline input."""

_NONE: Mapping[str, str] = {}


def task_key(
    *,
    pipe: str,
    source: Digest,
    params: Mapping[str, str],
    input_root: Digest | None,
    dependencies: Mapping[str, Digest],
    environment: str,
    config: Mapping[str, str] = _NONE,
    env: Mapping[str, str] = _NONE,
) -> ReuseKey:
    """The key that apply and the worker look for.

    ``params`` are the significant ones, serialised by luigi; ``dependencies`` are the roots of
    the values that go in besides the pipeline input, by the name they go in under; ``config`` and
    ``env`` are what was given by ``--set`` and ``--env``.
    """
    return ReuseKey(
        {
            "pipe": pipe,
            "source": source,
            "params": _json(params),
            "input": input_root or NO_INPUT,
            "dependencies": _json(dependencies),
            "environment": environment,
            **_given(config, env),
        }
    )


def request_key(
    *,
    pipe: str,
    source: Digest,
    params: Mapping[str, str],
    input_root: Digest | None,
    environment: str,
    config: Mapping[str, str] = _NONE,
    env: Mapping[str, str] = _NONE,
) -> ReuseKey:
    """The key that the client looks for before it starts a job.

    ``params`` are the significant ones, ``normalised``.
    """
    return ReuseKey(
        {
            "pipe": pipe,
            "source": source,
            "params": _json(params),
            "input": input_root or NO_INPUT,
            "environment": environment,
            **_given(config, env),
        }
    )


def normalised(pipe: Mapping[str, Any], params: Mapping[str, str]) -> dict[str, str]:
    """``params`` completed and written as luigi would write them, by the record of ``describe``.

    Recorded defaults fill what is missing; numbers, booleans, dates, choices and texts are
    checked and brought into one form, so that ``05`` and ``5`` are the same request. Other types
    stay as they were typed. Raises BadParameter for an unknown or missing name, or a text that
    does not parse.
    """
    schema: Mapping[str, Mapping[str, Any]] = pipe["params"]
    name = str(pipe.get("name", "the pipe"))
    for given in params:
        if given not in schema:
            known = ", ".join(schema) or "none"
            raise BadParameter(f"{name} has no parameter {given!r}; it has: {known}")
    full: dict[str, str] = {}
    for key, row in schema.items():
        if key in params:
            full[key] = written(name, key, row, params[key])
        elif row["default"] is not None:
            full[key] = row["default"]
        elif row["required"]:
            raise BadParameter(f"{name} needs the parameter {key!r}", hint=f"--{key} VALUE")
    return full


def significant(pipe: Mapping[str, Any], params: Mapping[str, str]) -> dict[str, str]:
    """Those of ``params`` that make a difference to the result, by the record of ``describe``."""
    return {key: text for key, text in params.items() if pipe["params"][key]["significant"]}


def _given(config: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Parts that are there where something was given, for most records have none."""
    return {part: _json(rows) for part, rows in (("config", config), ("env", env)) if rows}


def _json(rows: Mapping[str, str]) -> str:
    data = canonical_json(dict(sorted(rows.items())))
    return data.decode() if len(data) <= MAX_PART_BYTES else f"sha256:{digest_of(data)}"


def written(pipe: str, key: str, row: Mapping[str, Any], text: str) -> str:
    """``text`` as luigi would write the value of a parameter, by its row of ``describe``. Raises
    BadParameter when it is not one."""
    try:
        if row["type"] != "choice":
            return _WRITERS.get(row["type"], str)(text)
        written = _WRITERS.get(row["choice_type"], str)(text)
    except ValueError as error:
        raise BadParameter(
            f"{pipe}: the parameter {key!r} is of type {row['type']}, and {text!r:.80} is none"
        ) from error
    if written not in row["choices"]:
        there = ", ".join(row["choices"])
        raise BadParameter(f"{pipe}: {key!r} cannot be {text!r:.80}; choose one of: {there}")
    return written


def _bool(text: str) -> str:
    known = {"true": "True", "false": "False"}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def _date(text: str) -> str:
    return datetime.datetime.strptime(text, "%Y-%m-%d").strftime("%Y-%m-%d")


_WRITERS: Mapping[str, Callable[[str], str]] = {
    "int": lambda text: str(int(text)),
    "float": lambda text: str(float(text)),
    "bool": _bool,
    "date": _date,
    "str": str,
}
