"""The scope in which what is given to pipes is in force, while an apply runs.

luigi's configuration has that and nothing of any file, and the process has the variables.
Configuration and environment belong to the process. A thread that no apply started (a pipe's own,
say) sees what the apply at work sees; two applies side by side in one process cannot have different
variables, so that is refused.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from luigi.configuration import LuigiConfigParser
from luigi.configuration.base_parser import BaseParser
from luigi.parameter import _no_value

from bundlerun.bundles.digest import Digest
from bundlerun.errors import Conflict
from bundlerun.pipelines.overrides import Given, luigi_files, read_luigi

_NOTHING = Given()
_LOCK = threading.RLock()


@dataclass(eq=False)
class _Force:
    """The given values of one apply, as luigi asks for them.

    ``left_out`` is what the image left out (None: there is no image), ``outer`` the apply around it
    (None: no pipe called it).
    """

    given: Given
    parser: LuigiConfigParser
    left_out: Mapping[str, Digest] | None
    outer: _Force | None = None

    @property
    def root(self) -> _Force:
        """The outermost apply."""
        return self if self.outer is None else self.outer.root


_PRESENT: contextvars.ContextVar[_Force | None] = contextvars.ContextVar("in_force", default=None)
_AT_WORK: list[_Force] = []
_PLAIN: Any = BaseParser.instance


@contextmanager
def in_force(given: Given, left_out: Mapping[str, Digest] | None = None) -> Iterator[Given]:
    """Show pipes ``given`` and what an outer apply was given, and nothing else.

    Yields the two together. ``left_out`` is as in SessionOptions. Values are restored afterwards.
    Raises Conflict when another thread's apply is at work and either has variables of its own.
    """
    outer = _PRESENT.get()
    whole = given.over(_NOTHING if outer is None else outer.given)
    if left_out is None and outer is not None:
        left_out = outer.left_out
    force = _Force(whole, _parser(whole.config), left_out, outer)
    changed = {k: v for k, v in given.env.items() if outer is None or outer.given.env.get(k) != v}
    with _LOCK:
        _check_alone(force, changed)
        _install()
        _AT_WORK.append(force)
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
    token = _PRESENT.set(force)
    try:
        yield whole
    finally:
        _PRESENT.reset(token)
        with _LOCK:
            _AT_WORK.remove(force)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def image_left_out() -> Mapping[str, Digest] | None:
    """The files that the image left out for their size; None outside of an image.

    In an apply that a pipe in the image calls it is the same.
    """
    force = _PRESENT.get()
    return None if force is None else force.left_out


def given_value(param: Any, section: str, key: str) -> Any:
    """The given value of a parameter, parsed; luigi's ``_no_value`` without one."""
    force = _present()
    if force is None:
        return _no_value
    for name in (f"{section}.{key}", config_path(param)):
        if name is not None and name in force.given.config:
            return param.parse(force.given.config[name])
    return _no_value


def config_path(param: Any) -> str | None:
    """``Section.key`` of a parameter's ``config_path``; None without one."""
    path = param._config_path
    return f"{path['section']}.{path['name']}" if path else None


def said_elsewhere() -> list[tuple[str, Mapping[str, str]]]:
    """The settings in luigi's files, as ``check_files`` takes them.

    Files of which this process has told luigi count too. Raises SettingsError.
    """
    found: list[tuple[str, Mapping[str, str]]] = list(luigi_files())
    known = {name for name, _ in found}
    for path in LuigiConfigParser._config_paths:
        if os.path.isfile(path) and os.path.abspath(path) not in known:
            found.append(read_luigi(path))
    return found


def _parser(config: Mapping[str, str]) -> LuigiConfigParser:
    parser = LuigiConfigParser(interpolation=None)
    for name, text in config.items():
        section, _, key = name.rpartition(".")
        parser.set(section, key, text)
    return parser


def _check_alone(force: _Force, changed: Mapping[str, str]) -> None:
    others = [each for each in _AT_WORK if each.root is not force.root]
    if others and (changed or any(each.given.env for each in others)):
        raise Conflict(
            "another apply runs in this process, and variables belong to the whole process",
            hint="an apply with --env in a process of its own",
        )


def _install() -> None:
    if BaseParser.instance == _PLAIN:
        BaseParser.instance = classmethod(_instance)  # type: ignore[method-assign,assignment]
        os.register_at_fork(after_in_child=_forked)


def _forked() -> None:
    """Forget, in a forked child, the lock and the applies of the other threads.

    A child has no other threads.
    """
    global _LOCK
    _LOCK = threading.RLock()
    force = _PRESENT.get()
    _AT_WORK[:] = [each for each in _AT_WORK if force is not None and each.root is force.root]


def _present() -> _Force | None:
    force = _PRESENT.get()
    if force is not None:
        return force
    with _LOCK:
        if len({tuple(sorted(each.given.config.items())) for each in _AT_WORK}) > 1:
            raise Conflict(
                "several applies with different settings run in this process, and this "
                "thread belongs to none",
                hint="read the configuration in pipe_run itself",
            )
        return _AT_WORK[-1] if _AT_WORK else None


def _instance(cls: type[BaseParser], *args: Any, **kwargs: Any) -> Any:
    force = _present()
    return _PLAIN.__func__(cls, *args, **kwargs) if force is None else force.parser
