"""Overrides: what a caller gives to pipes besides parameters.

That is values of configuration classes, variables of the environment, and secrets. luigi takes such
values from configuration files, which stand in no key and lie in no container. So pipes see no such
file; what a file would have said is given by name, and is part of the key. Nothing here imports
luigi or the user's code: a client knows an image's sections from its labels.
"""

from __future__ import annotations

import configparser
import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundlerun.bundles.digest import digest_of
from bundlerun.errors import BadParameter, SettingsError, UsageError
from bundlerun.pipelines.schema import written

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Sections = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""The settings that can be given, by section and key.

Each is a row of ``parameters.schema``. A section is a class's family, or what a ``config_path``
names.
"""

NEAR = 3
"""So many names are proposed in place of an unknown one."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# https://luigi.readthedocs.io/en/stable/configuration.html: the folders and names of its files.
_FILES = {
    "cfg": ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg"),
    "toml": ("/etc/luigi/luigi.toml", "luigi.toml"),
}


@dataclass(frozen=True)
class Given:
    """The overrides of a caller: ``config`` by ``Section.key``, ``env`` by variable.

    Both are texts, and both are part of the key of every pipe.
    """

    config: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(config: Mapping[str, object] | None, env: Mapping[str, str] | None) -> Given:
        """The checked overrides, their values as texts.

        Raises UsageError for a name that cannot be meant.
        """
        texts = {}
        for name, value in (config or {}).items():
            section, _, key = str(name).rpartition(".")
            if not section or not key or section == "DEFAULT":
                raise UsageError(f"{name!r} is not Section.key", hint="--set Section.key=value")
            texts[f"{section}.{key.replace('-', '_')}"] = str(value)
        for name, value in (env or {}).items():
            check_variable(name)
            if "\0" in value:
                raise UsageError(
                    f"the value of {name} has a NUL, which a variable cannot have",
                    hint=f"--env {name}=VALUE",
                )
        return Given(texts, dict(env or {}))

    def over(self, outer: Given) -> Given:
        """The given values over those of ``outer``."""
        return Given({**outer.config, **self.config}, {**outer.env, **self.env})

    def of_pipe(self, pipe: str, schema: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """The values set for the parameters of ``pipe``, by parameter.

        They are set under the pipe's own name, or under the ``config_path`` of a parameter.
        """
        found = {}
        for key, row in schema.items():
            for name in (f"{pipe}.{key}", row.get("config_path")):
                if name is not None and name in self.config:
                    found[key] = self.config[name]
                    break
        return found


def check_variable(name: str) -> None:
    """Refuse what is not a variable's name, or is bundlerun's own.

    Raises UsageError.
    """
    if not _VARIABLE.fullmatch(name):
        raise UsageError(f"{name!r} is not the name of a variable", hint="--env NAME=value")
    if name.startswith("BUNDLERUN_"):
        raise UsageError(
            f"{name} is bundlerun's own variable and cannot be given to pipes",
            hint="another name, or config.toml for bundlerun itself",
        )


def checked(given: Given, sections: Sections) -> Given:
    """``given``, its values as luigi writes them.

    Raises BadParameter for a section or key that no class of the pipeline has, with the nearest
    ones, and for a value that does not parse.
    """
    names = known_names(sections)
    config = {}
    for name, text in given.config.items():
        if name not in names:
            # A class is often named as in its module, without the package.
            near = [known for known in sorted(names) if known.endswith(f".{name}")]
            near = near or difflib.get_close_matches(name, names, n=NEAR)
            there = ", ".join(near or sorted(names)) or "nothing"
            raise BadParameter(
                f"nothing in the pipeline has the setting {name!r}; it has: {there}",
                hint=f"--set {near[0]}=VALUE" if near else f"leave out --set {name}",
            )
        config[name] = written("--set", name, names[name], text)
    return Given(config, given.env)


def known_names(sections: Sections) -> dict[str, Mapping[str, Any]]:
    """Every ``Section.key`` and its row."""
    return {
        f"{section}.{key}": row for section, rows in sections.items() for key, row in rows.items()
    }


def in_key(given: Given, sections: Sections) -> dict[str, str]:
    """The part of ``config`` that makes a difference, as luigi writes it.

    Of a private value it has the digest alone. What no class of the pipeline has was given to an
    apply around it, and stays as it is.
    """
    names = known_names(sections)
    found = {}
    for name, text in given.config.items():
        row = names.get(name)
        if row is None:
            found[name] = text
        elif row["significant"]:
            text = written("--set", name, row, text)
            found[name] = f"sha256:{digest_of(text.encode())}" if row["private"] else text
    return found


def check_files(
    given: Given, sections: Sections, files: Iterable[tuple[str, Mapping[str, Any]]]
) -> None:
    """Refuse luigi files that set something of the pipeline that is not given.

    ``files``: the name of each, and its texts by ``Section.key``. Raises SettingsError, with the
    cure, for the first that sets what a class of the pipeline has and ``given`` does not give.
    """
    names = known_names(sections)
    for file, said in files:
        for name, text in said.items():
            if name in names and name not in given.config:
                shown = "VALUE" if names[name]["private"] else shlex.quote(str(text))
                raise SettingsError(
                    f"{file} sets {name}, and pipes see no luigi configuration: what stands there"
                    " is in no key and in no container",
                    hint=f"--set {name}={shown}",
                )


def luigi_files(environ: Mapping[str, str] | None = None) -> list[tuple[str, dict[str, str]]]:
    """luigi's configuration files on this machine, and their texts by ``Section.key``.

    The one that wins comes last. Raises SettingsError for one that does not parse.
    """
    environ = os.environ if environ is None else environ
    kind = "toml" if environ.get("LUIGI_CONFIG_PARSER") == "toml" else "cfg"
    paths = list(_FILES[kind])
    chosen = environ.get("LUIGI_CONFIG_PATH")
    if chosen and (_kind(chosen) or kind) == kind:
        paths.append(chosen)
    return [read_luigi(path, kind) for path in paths if os.path.isfile(path)]


def read_luigi(path: str, kind: str = "cfg") -> tuple[str, dict[str, str]]:
    """A file's absolute path, and its texts by ``Section.key``.

    Raises SettingsError.
    """
    name = os.path.abspath(path)
    try:
        text = Path(name).read_text(encoding="utf-8")
        rows = _toml(text) if kind == "toml" else _cfg(text)
    except (OSError, UnicodeDecodeError, configparser.Error, tomllib.TOMLDecodeError) as error:
        said = str(error).partition("\n")[0]
        raise SettingsError(
            f"{name} cannot be read as luigi's configuration: {said}", hint=f"ls -l {name}"
        ) from error
    return name, {f"{section}.{key.replace('-', '_')}": value for section, key, value in rows}


def parsed_secrets(secrets: Sequence[str]) -> dict[str, str | None]:
    """The secrets in ``NAME`` and ``NAME=REFERENCE`` texts: references by name.

    A reference is what a service calls the secret; None where nothing is said. Raises UsageError.
    """
    found: dict[str, str | None] = {}
    for text in secrets:
        name, _, reference = text.partition("=")
        if not _VARIABLE.fullmatch(name):
            raise UsageError(f"{name!r} is not the name of a variable", hint="--secret NAME")
        check_variable(name)
        found[name] = reference or None
    return found


def check_secrets(
    secrets: Mapping[str, str | None], given: Given, environ: Mapping[str, str] | None = None
) -> None:
    """Refuse secrets that pipes in this process could not have.

    Raises UsageError for a secret that is not set here, that a service keeps, which no process here
    does, or that ``given`` has in the open as well.
    """
    environ = os.environ if environ is None else environ
    check_apart(secrets, given)
    for name, reference in secrets.items():
        if reference is not None:
            # The text is not shown: it may be the secret itself.
            raise UsageError(
                f"--secret {name}=... names the secret for a service that reads it, and none does"
                " here; a value must never stand there",
                hint=f"export {name}=...; --secret {name}",
            )
        if name not in environ:
            raise UsageError(f"the secret {name} is not set", hint=f"export {name}=...")


def check_apart(secrets: Mapping[str, str | None], given: Given) -> None:
    """Refuse a secret that ``given`` has in the open as well.

    Raises UsageError.
    """
    for name in secrets:
        if name in given.env:
            raise UsageError(
                f"{name} is given by --env, which stands in the key, and by --secret",
                hint=f"--secret {name} alone",
            )


def _kind(path: str) -> str | None:
    suffix = os.path.splitext(path)[1]
    return {".toml": "toml", ".cfg": "cfg", ".conf": "cfg", ".ini": "cfg"}.get(suffix)


def _cfg(text: str) -> list[tuple[str, str, str]]:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string(text)
    return [(each, key, value) for each in parser.sections() for key, value in parser.items(each)]


def _toml(text: str) -> list[tuple[str, str, str]]:
    found = tomllib.loads(text).items()
    return [(s, k, str(v)) for s, rows in found if isinstance(rows, dict) for k, v in rows.items()]
