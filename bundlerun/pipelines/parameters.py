"""A pipe's parameters: from what the caller gave, and into records and keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi
from luigi.parameter import (
    MissingParameterException,
    ParameterException,
    ParameterVisibility,
    _no_value,
)
from luigi.task_register import Register

from bundlerun.bundles.digest import digest_of
from bundlerun.errors import BadParameter
from bundlerun.pipelines.override_scope import config_path, given_value
from bundlerun.pipelines.schema import not_of_type, parameter_cure

if TYPE_CHECKING:
    from bundlerun.pipelines.pipe import Pipe

# Exact classes only: a subclass may parse in its own way.
_TYPES: Mapping[type, str] = {
    luigi.Parameter: "str",
    luigi.IntParameter: "int",
    luigi.FloatParameter: "float",
    luigi.BoolParameter: "bool",
    luigi.DateParameter: "date",
    luigi.ChoiceParameter: "choice",
}

_LUIGI = frozenset({"luigi", "bundlerun"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})

_CHOICE_TYPES: Mapping[type, str] = {str: "str", int: "int", float: "float"}


def with_params(cls: type[Pipe], name: str, params: Mapping[str, object]) -> Pipe:
    """The pipe ``cls`` (called ``name``) with ``params``, their texts parsed.

    Other objects are taken as they are. Raises BadParameter for an unknown, missing or unparsable
    one.
    """
    known: dict[str, Any] = dict(cls.get_params())
    for key in params:
        if key not in known:
            raise BadParameter(
                f"{name} has no parameter {key!r}; it has: {', '.join(known) or 'none'}",
                hint=parameter_cure(key, known),
            )
    parsed: dict[str, Any] = {
        key: _parsed(name, key, known[key], value) for key, value in params.items()
    }
    try:
        return cls(**parsed)
    except MissingParameterException as error:
        for key, param in known.items():
            lacks = param._default is _no_value and given_value(param, name, key) is _no_value
            if key not in parsed and lacks:
                hint = f"--{key} VALUE"
                raise BadParameter(f"{name} needs the parameter {key!r}", hint=hint) from error
        raise
    except ParameterException as error:
        raise BadParameter(
            f"{name}: {error}", hint=" ".join(f"--{key} VALUE" for key in known)
        ) from error


def recorded(pipe: Pipe) -> dict[str, str]:
    """All parameters as luigi writes them, but those that are private to the pipe."""
    return {
        key: str(param.serialize(pipe.param_kwargs[key]))
        for key, param in type(pipe).get_params()
        if param.visibility != ParameterVisibility.PRIVATE
    }


def significant(pipe: Pipe) -> dict[str, str]:
    """The parameters that make a difference to the value, as luigi writes them.

    Of a private one there is only the digest: keys are written down, secrets are not.
    """
    found = {}
    for key, param in type(pipe).get_params():
        if param.significant:
            text = str(param.serialize(pipe.param_kwargs[key]))
            private = param.visibility == ParameterVisibility.PRIVATE
            found[key] = f"sha256:{digest_of(text.encode())}" if private else text
    return found


def schema(cls: type[luigi.Task]) -> dict[str, dict[str, Any]]:
    """The schema of the parameters, for clients: see ``describe``."""
    return {key: _row(param) for key, param in cls.get_params()}


def sections_of(modules: Mapping[str, Path]) -> dict[str, dict[str, dict[str, Any]]]:
    """The sections of configuration classes and tasks of the loaded ``modules``.

    ``modules`` are files by name. Classes of installed packages count too, luigi's own apart. See
    overrides.Sections.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for cls in [*_installed_classes(), *_classes_of(modules)]:
        rows = schema(cls)
        if rows:
            found.setdefault(cls.get_task_family(), {}).update(rows)
        for row in rows.values():
            section, dot, key = (row["config_path"] or "").rpartition(".")
            if dot:
                found.setdefault(section, {})[key] = row
    return found


def _classes_of(modules: Mapping[str, Path]) -> Iterator[type[luigi.Task]]:
    main = sys.modules.get("__main__")
    for name, path in sorted(modules.items()):
        loaded = sys.modules.get(name)
        if loaded is None and os.path.abspath(getattr(main, "__file__", None) or "") == str(path):
            loaded = main
        for cls in list(vars(loaded).values()) if loaded is not None else ():
            own = isinstance(cls, type) and issubclass(cls, luigi.Task)
            if own and loaded is not None and cls.__module__ == loaded.__name__:
                yield cls


def _installed_classes() -> Iterator[type[luigi.Task]]:
    """The tasks and configuration classes of installed packages, luigi's own apart.

    Their values came from files too, and a pipe may use them as it does the project's.
    """
    for cls in list(Register._reg):
        file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
        top = cls.__module__.partition(".")[0]
        if top not in _LUIGI and not _INSTALLED.isdisjoint(Path(file).parts):
            yield cls


def _parsed(name: str, key: str, param: Any, value: object) -> object:
    """The value as it comes back from its text, so that ``3`` for a float is ``3.0``."""
    try:
        given = param.parse(value) if isinstance(value, str) else value
        first = param.normalize(given)
        again = param.normalize(param.parse(param.serialize(first)))
        same = again == first or param.serialize(again) == param.serialize(first)
    except Exception as error:  # a parameter class is the user's: it may raise anything
        raise not_of_type(name, key, _row(param), value) from error
    # BoolParameter makes None of what it cannot parse.
    if not same or (again is None and given is not None):
        raise not_of_type(name, key, _row(param), value)
    return again


def _row(param: Any) -> dict[str, Any]:
    default = _default(param)
    row = {
        "type": _type(param),
        "class": type(param).__name__,
        "default": default,
        "required": param._default is _no_value,
        "significant": bool(param.significant),
        "positional": bool(param.positional),
        "private": param.visibility == ParameterVisibility.PRIVATE,
        "description": param.description or "",
        "config_path": config_path(param),
    }
    if row["type"] == "choice":
        row["choice_type"] = _CHOICE_TYPES[param._var_type]
        row["choices"] = sorted(str(param.serialize(choice)) for choice in param._choices)
    return row


def _type(param: Any) -> str:
    found = _TYPES.get(type(param), "str" if type(param).__name__ == "StrParameter" else "other")
    if found == "date" and param.interval != 1:
        return "other"
    if found == "choice" and param._var_type not in _CHOICE_TYPES:
        return "other"
    return found


def _default(param: Any) -> str | None:
    """The default as a text that parses to it; None where there is no such text."""
    if param._default is _no_value:
        return None
    try:
        value = param.normalize(param._default)
        text = str(param.serialize(value))
        return text if param.normalize(param.parse(text)) == value else None
    except Exception:  # a parameter class is the user's: it may raise anything
        return None
