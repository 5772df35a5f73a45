"""The payload of a map: its pickled function, and its project's sources.

The payload is a zip: ``versions`` and the names in ``about.json``, the pickle of function and
keyword arguments in ``call.pkl``, its files and directories, where it has some, as the codec writes
them in ``leaves``, and below ``sources/`` the modules, which a job puts first on its import path.
The same function makes the same bytes, as far as cloudpickle does.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import json
import platform
import sys
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.paths import check_relative_path
from bundlerun.errors import (
    BadPath,
    BadValue,
    InfraError,
    IntegrityError,
    LargeFunction,
    UsageError,
    UserError,
)
from bundlerun.futures.codec import Codec
from bundlerun.futures.pickles import Pickled, TooLarge, pickled, unpickled

MOST_BYTES = 100_000_000
"""A function that takes more, captured variables and sources included, is refused."""

LARGE_BYTES = 10_000_000
"""One that takes more is sent with a warning."""

_ABOUT, _CALL, _LEAVES, _SOURCES = "about.json", "call.pkl", "leaves", "sources/"

_MADE = (1980, 1, 1, 0, 0, 0)
"""The time of every member: the same function makes the same bytes."""

_DEEPEST = 5


@dataclass(frozen=True)
class Versions:
    """The versions that must be the same where a function is pickled and loaded.

    ``python`` (X.Y), of which code objects are made, and ``cloudpickle``, whose functions read
    them.
    """

    python: str
    cloudpickle: str


def versions() -> Versions:
    """The versions of this process."""
    return Versions(".".join(platform.python_version_tuple()[:2]), version("cloudpickle"))


def check_versions(planned: Versions) -> None:
    """Refuse a process whose versions are not as ``planned``.

    To be called before anything is unpickled. Raises InfraError.
    """
    here = versions()
    if here != planned:
        raise InfraError(
            f"the function was pickled by Python {planned.python} with cloudpickle"
            f" {planned.cloudpickle}, and this job has Python {here.python} with cloudpickle"
            f" {here.cloudpickle}: it was not loaded",
            hint="the map again, without image= or with an image of these versions",
        )


def name_of(func: Callable[..., Any]) -> str:
    """The name of a function for people: ``module.qualname``.

    Of a partial it is that of its function, of a callable instance that of its class.
    """
    while isinstance(func, functools.partial):
        func = func.func
    named = func if hasattr(func, "__qualname__") else type(func)
    module = getattr(named, "__module__", None) or type(func).__module__
    return f"{module}.{named.__qualname__}"


def check_function(func: object) -> None:
    """Refuse what cannot be mapped.

    That is what is not callable, and what returns, when it is called, only a generator or a
    coroutine. Raises UsageError.
    """
    if not callable(func):
        raise UsageError(
            f"{func!r:.200} is not callable", hint="the function itself, not what it returns"
        )
    called = _called(func)
    kinds = (
        (inspect.isgeneratorfunction, "a generator", "return list(...) instead of yield"),
        (inspect.isasyncgenfunction, "an asynchronous generator", "return a list"),
        (inspect.iscoroutinefunction, "a coroutine", "asyncio.run(...) inside a plain function"),
    )
    for is_kind, what, cure in kinds:
        if is_kind(called):
            raise UsageError(
                f"{name_of(func)} returns {what}, which cannot leave the job that made it",
                hint=cure,
            )


def pickled_call(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> Pickled:
    """The pickle of the function and its keyword arguments.

    Raises UsageError as ``check_function``, BadValue for what cannot be pickled and for more than
    MOST_BYTES, naming the variable that is large.
    """
    check_function(func)
    try:
        return pickled((func, dict(kwargs)), MOST_BYTES)
    except TooLarge:
        raise BadValue(
            f"{name_of(func)} takes over {MOST_BYTES} bytes when it is pickled:"
            f" {_largest(func, kwargs)}",
            hint="a bundle that the function reads, a bundlerun.File, or an item of the map",
        ) from None


def dump_function(
    func: Callable[..., Any],
    kwargs: Mapping[str, Any],
    sources: Mapping[str, bytes],
    codec: Codec | None = None,
) -> bytes:
    """The payload of ``func`` with ``kwargs``, and of ``sources``.

    ``sources`` are module files by relative path. Warns LargeFunction over LARGE_BYTES, naming the
    variable that is large. Raises UsageError as ``check_function``; BadValue for what cannot be
    pickled, for more than MOST_BYTES, and, where there is no ``codec``, for files and directories
    of bundlerun in it.
    """
    found = pickled_call(func, kwargs)
    if found.leaves and codec is None:
        raise BadValue(
            f"{name_of(func)} holds {found.leaves[0]!r:.100}, and has nowhere to send it",
            hint="an item of the map instead",
        )
    members = {_ABOUT: canonical_json({"func": name_of(func), **asdict(versions())})}
    members[_CALL] = found.data
    if codec is not None:
        codec.bundles.update((bundle.id, bundle) for bundle in found.bundles)
        if found.leaves:
            members[_LEAVES] = codec.encode(list(found.leaves))
    members.update((_SOURCES + path, data) for path, data in sorted(sources.items()))
    payload = _zipped(members)
    if len(payload) > MOST_BYTES:
        largest = max(sources, key=lambda path: len(sources[path]))
        raise BadValue(
            f"{name_of(func)} takes {len(payload)} bytes with its sources, and {MOST_BYTES} is the"
            f" most; the largest file is {largest}, {len(sources[largest])} bytes",
            hint="a bundle, or a line for it in .dockerignore",
        )
    if len(found.data) > LARGE_BYTES:
        warnings.warn(
            f"{name_of(func)} takes {len(found.data)} bytes, which every job reads:"
            f" {_largest(func, kwargs)}",
            LargeFunction,
            stacklevel=3,
        )
    return payload


def load_function(data: bytes, folder: Path, codec: Codec | None = None) -> Callable[..., Any]:
    """The function of a payload sealed by this run, its keyword arguments bound.

    The sources go to ``folder``, which becomes the first of the import path. Raises InfraError as
    ``check_versions``, IntegrityError for what is not a payload, UserError for what cannot be
    loaded here: a package that the job's environment lacks.
    """
    members = _unzipped(data)
    about = json.loads(members[_ABOUT])
    check_versions(Versions(about["python"], about["cloudpickle"]))
    for path, content in members.items():
        if path.startswith(_SOURCES):
            place = folder / path.removeprefix(_SOURCES)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    leaves: list[object] = []
    if _LEAVES in members and codec is not None:
        leaves = codec.decode(members[_LEAVES], True)
    try:
        func, kwargs = unpickled(members[_CALL], leaves)
    except BaseException as error:  # modules are imported, and may raise anything
        raise UserError(
            f"{about['func']} cannot be loaded in the job: {type(error).__name__}: {error!s:.500}",
            hint="requirements=[...] of the map, with what it imports",
            evidence=traceback.format_exc(),
        ) from error
    return functools.partial(func, **kwargs) if kwargs else func


def _zipped(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _MADE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return file.getvalue()


def _unzipped(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {check_relative_path(name): archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, BadPath, EOFError, OSError) as error:
        raise IntegrityError(
            f"the function of the run is malformed: {error!s:.200}", hint="the map again"
        ) from error
    if not {_ABOUT, _CALL} <= members.keys():
        raise IntegrityError("the function of the run is malformed", hint="the map again")
    return members


def _called(func: object) -> object:
    """The function whose body runs when ``func`` is called.

    It may stand behind partials, methods, caches and instances.
    """
    for _ in range(_DEEPEST):
        if isinstance(func, functools.partial):
            func = func.func
        elif isinstance(func, MethodType):
            func = func.__func__
        elif isinstance(func, functools._lru_cache_wrapper):
            func = func.__wrapped__
        elif isinstance(func, type) or inspect.isroutine(func):
            break
        else:
            func = inspect.getattr_static(type(func), "__call__", None)
            if isinstance(func, staticmethod | classmethod):
                func = func.__func__
    return func


def _largest(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> str:
    """The variable that takes most, on the way of the functions that hold it."""
    held = [*_held(func), *((f"the argument {name}", each) for name, each in kwargs.items())]
    way: list[str] = []
    while held and len(way) < _DEEPEST:
        sizes = [(_size(value), name, value) for name, value in held]
        size, name, value = max(sizes, key=lambda each: each[0])
        way.append(f"{name} ({'over ' if size == MOST_BYTES else ''}{size} bytes)")
        held = list(_held(value)) if isinstance(value, FunctionType | functools.partial) else []
    return ", in it ".join(way) or "its own code"


def _size(value: object) -> int:
    try:
        return len(pickled(value, MOST_BYTES).data)
    except TooLarge:
        return MOST_BYTES
    except BadValue:
        return 0


def _held(func: object) -> Iterator[tuple[str, object]]:
    """What is pickled with a callable, by what it is called there."""
    if isinstance(func, functools.partial):
        yield "the function", func.func
        yield from ((f"the argument {at}", each) for at, each in enumerate(func.args))
        yield from ((f"the argument {name}", each) for name, each in func.keywords.items())
    elif isinstance(func, MethodType):
        yield "the object", func.__self__
    elif isinstance(func, FunctionType):
        for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
            try:
                yield f"the variable {name}", cell.cell_contents
            except ValueError:
                continue  # not bound yet
        for name in sorted(_names(func.__code__)):
            if name in func.__globals__:
                yield f"the global variable {name}", func.__globals__[name]
        defaults = (*(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).values())
        yield from (("a default argument", each) for each in defaults)
    elif not isinstance(func, type):
        yield from ((f"the attribute {name}", each) for name, each in _attributes(func).items())


def _attributes(value: object) -> Mapping[str, object]:
    found = getattr(value, "__dict__", None)
    return found if isinstance(found, dict) else {}


def _names(code: CodeType) -> set[str]:
    found = set(code.co_names)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            found |= _names(each)
    return found
