"""Parameters by a pipe's recorded schema: completed, checked, in luigi's form."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bundlerun.errors import BadParameter


def normalised(pipe: Mapping[str, Any], params: Mapping[str, str]) -> dict[str, str]:
    """``params`` completed and written as luigi would, by the record of ``describe``.

    Recorded defaults fill what is missing; numbers, booleans, dates, choices and texts are checked
    and brought into one form, so that ``05`` and ``5`` are the same request. Other types stay as
    they were typed. Raises BadParameter for an unknown or missing name, or a text that does not
    parse.
    """
    schema: Mapping[str, Mapping[str, Any]] = pipe["params"]
    name = str(pipe.get("name", "the pipe"))
    for given in params:
        if given not in schema:
            known = ", ".join(schema) or "none"
            raise BadParameter(
                f"{name} has no parameter {given!r}; it has: {known}",
                hint=parameter_cure(given, schema),
            )
    full: dict[str, str] = {}
    for key, row in schema.items():
        if key in params:
            full[key] = written(name, key, row, params[key])
        elif row["default"] is not None:
            full[key] = row["default"]
        elif row["required"]:
            raise BadParameter(f"{name} needs the parameter {key!r}", hint=f"--{key} VALUE")
    return full


def parameter_cure(key: str, known: Iterable[str]) -> str:
    """The cure for an unknown parameter: the nearest name, or none of it."""
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"--{near[0]} VALUE" if near else f"leave out --{key}"


def significant(pipe: Mapping[str, Any], params: Mapping[str, str]) -> dict[str, str]:
    """The significant ones of ``params``, by the record of ``describe``.

    These make a difference to the result.
    """
    return {key: text for key, text in params.items() if pipe["params"][key]["significant"]}


def written(pipe: str, key: str, row: Mapping[str, Any], text: str) -> str:
    """``text`` as luigi would write a parameter's value, by its row of ``describe``.

    Raises BadParameter when it is not one.
    """
    try:
        if row["type"] != "choice":
            return _WRITERS.get(row["type"], str)(text)
        written = _WRITERS.get(row["choice_type"], str)(text)
    except ValueError as error:
        raise not_of_type(pipe, key, row, text) from error
    if written not in row["choices"]:
        raise not_of_type(pipe, key, row, text)
    return written


def not_of_type(pipe: str, key: str, row: Mapping[str, Any], value: object) -> BadParameter:
    """The error for a value that the parameter ``key``, by its row, does not take."""
    if row["type"] == "choice":
        kind = f"one of {', '.join(row['choices'])}"
    else:
        kind = f"of type {row['class'] if row['type'] == 'other' else row['type']}"
    example = _EXAMPLES.get(row["class"] if row["type"] == "other" else row["type"], "VALUE")
    example = row["choices"][0] if row["type"] == "choice" else example
    return BadParameter(
        f"{pipe}: the parameter {key!r} must be {kind}, not {value!r:.80}",
        hint=f"--{key.replace('_', '-')} {example}",
    )


_EXAMPLES = {
    "int": "3",
    "float": "0.5",
    "bool": "true",
    "date": "2013-01-31",
    "ListParameter": """'["a", "b"]'""",
    "TupleParameter": """'["a", "b"]'""",
    "DictParameter": """'{"a": 1}'""",
}


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
