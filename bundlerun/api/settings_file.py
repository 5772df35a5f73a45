"""Values written into config.toml, which keeps all else that stands there.

Comments, blank lines and the order of keys stay: lines are changed, and the whole file is read
again before it takes the old one's place. What cannot be changed line by line is refused.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundlerun.errors import SettingsError
from bundlerun.store.atomic import aside, make_folder, settle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Sections = Mapping[str, Mapping[str, Any]]
"""Values by key by section: ``{"backends.AWSBatch": {"queue": "lab"}}``."""

FILE_MODE = 0o644


@dataclass(frozen=True)
class Change:
    """A value that was written.

    ``before`` is the one that stood there, None without one.
    """

    section: str
    key: str
    value: Any
    before: Any


def save(path: Path, sections: Sections) -> tuple[Change, ...]:
    """Write the values into the settings file at ``path``, whole or not at all.

    Returns what is new or another value now. A link is followed. Raises SettingsError for a file
    that is not TOML, cannot be written, or has the values in a form that lines cannot change.
    """
    try:
        # A loop of links is a RuntimeError before Python 3.13.
        path = path.resolve()
        text = path.read_bytes().decode()
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        text, mode = "", FILE_MODE
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error
    found = _parsed(path, text)
    changes = tuple(_changes(found, sections))
    if not changes:
        return ()
    edited = text
    for change in changes:
        edited = _with(edited, change)
    _check(path, edited, found, changes)
    if not mode & stat.S_IWUSR:
        raise _unwritable(path, "it is read-only", changes)
    try:
        make_folder(path.parent)
        with aside(path.parent) as partial:
            partial.write_bytes(edited.encode())
            settle(partial, path, mode)
    except OSError as error:
        raise _unwritable(path, str(error), changes) from error
    return changes


def in_toml(value: Any) -> str:
    """A text, a number or a boolean as TOML has it."""
    # A text of JSON is a text of TOML (TOML 1.0, "String").
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}", hint=f"cat -n {path}") from error


def _changes(found: Mapping[str, Any], sections: Sections) -> list[Change]:
    changes = []
    for section, rows in sections.items():
        there: Any = found
        for part in section.split("."):
            there = there.get(part, {}) if isinstance(there, dict) else {}
        for key, value in rows.items():
            before = there.get(key) if isinstance(there, dict) else None
            if before != value or type(before) is not type(value):
                changes.append(Change(section, key, value, before))
    return changes


def _with(text: str, change: Change) -> str:
    """The text with one value changed in its line, or in a new one."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    row = f"{change.key} = {in_toml(change.value)}"
    at = _header(lines, change.section)
    if at is None:
        before = "" if not text or text.endswith("\n") else end
        gap = end if text.strip() else ""
        return f"{text}{before}{gap}[{change.section}]{end}{row}{end}"
    last = at
    for number in range(at + 1, len(lines)):
        line = lines[number]
        if line.lstrip().startswith("["):
            break
        told = re.match(rf"(\s*{re.escape(change.key)}\s*=\s*)(.*?)(\s*)\Z", line, re.S)
        if told:
            lines[number] = told[1] + in_toml(change.value) + _comment(told[2]) + told[3]
            return "".join(lines)
        # A comment stands with what follows it, which may be the next section.
        if line.strip() and not line.lstrip().startswith("#"):
            last = number
    if not lines[last].endswith("\n"):
        lines[last] += end
    lines.insert(last + 1, row + end)
    return "".join(lines)


def _header(lines: list[str], section: str) -> int | None:
    wanted: dict[str, Any] = {}
    for part in reversed(section.split(".")):
        wanted = {part: wanted}
    for number, line in enumerate(lines):
        if line.lstrip().startswith("["):
            with contextlib.suppress(tomllib.TOMLDecodeError):
                if tomllib.loads(line) == wanted:
                    return number
    return None


def _comment(rest: str) -> str:
    """The comment after a value, with the space before it."""
    for found in re.finditer(r"\s*#", rest):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            tomllib.loads(f"x = {rest[: found.start()]}")
            return rest[found.start() :]
    return ""


def _check(path: Path, edited: str, found: Mapping[str, Any], changes: tuple[Change, ...]) -> None:
    """Refuse a text that does not say what the old one said, and the changes."""
    wanted = copy.deepcopy(dict(found))
    for change in changes:
        there: Any = wanted
        for part in change.section.split("."):
            there = there.setdefault(part, {})
        there[change.key] = change.value
    with contextlib.suppress(tomllib.TOMLDecodeError):
        if tomllib.loads(edited) == wanted:
            return
    raise SettingsError(
        f"{path} has these settings in a form that is not changed by itself", hint=_by_hand(changes)
    )


def _unwritable(path: Path, why: str, changes: tuple[Change, ...]) -> SettingsError:
    return SettingsError(f"{path} cannot be written: {why}", hint=_by_hand(changes))


def _by_hand(changes: tuple[Change, ...]) -> str:
    rows = "; ".join(f"[{c.section}] {c.key} = {in_toml(c.value)}" for c in changes)
    return f"write there: {rows}"
