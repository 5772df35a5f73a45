"""Pickles of functions, and of values that no bundle keeps, with their modules.

cloudpickle writes by value what no other process can import: what stands in ``__main__``, in a
notebook or within a function; so do we for modules without a file. Files and directories of
bundlerun are taken out, since a pickle of one would be a path of this machine.
"""

from __future__ import annotations

import dis
import functools
import io
import pickle
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import resolve_name
from types import CodeType, FunctionType, ModuleType
from typing import Any

from bundlerun.bundles.record import BundleRecord
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import BadValue

_IMPORTERS = frozenset({"import_module", "__import__"})

# cloudpickle knows by process, not by pickle, which modules go by value.
_BY_VALUE = threading.Lock()


@dataclass(frozen=True)
class Pickled:
    """A pickle: ``data``, and the ``leaves`` that were taken out of it, in order.

    ``modules`` are those whose contents it names, and that the code in it may import, by their
    dotted names; many of those in code are attributes, or are not there. ``bundles`` are the
    records in it. ``from_script`` says that code of ``__main__`` is in it.
    """

    data: bytes
    leaves: tuple[object, ...] = ()
    modules: frozenset[str] = frozenset()
    bundles: tuple[BundleRecord, ...] = ()
    from_script: bool = False


class TooLarge(Exception):
    """A pickle has more bytes than it may."""


def pickled(value: object, most_bytes: int | None = None) -> Pickled:
    """The pickle of ``value``.

    Raises BadValue, with the reason, where it has none, and TooLarge over ``most_bytes``.
    """
    found = _pickled(value, most_bytes)
    bare = {name for name in found.modules if _is_bare(sys.modules.get(name))}
    if not bare:
        return found
    import cloudpickle

    with _BY_VALUE:
        new = [
            sys.modules[name] for name in sorted(bare - cloudpickle.list_registry_pickle_by_value())
        ]
        for module in new:
            cloudpickle.register_pickle_by_value(module)
        try:
            return _pickled(value, most_bytes)
        finally:
            for module in new:
                cloudpickle.unregister_pickle_by_value(module)


def unpickled(data: bytes, leaves: Sequence[object] = ()) -> Any:
    """The value of a pickle, whose origin the caller has proved.

    Raises whatever the pickle raises.
    """
    return _Unpickler(io.BytesIO(data), leaves).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, leaves: Sequence[object]) -> None:
        super().__init__(file)
        self._leaves = leaves

    def persistent_load(self, pid: Any) -> object:
        return self._leaves[pid]


class _Limited(io.BytesIO):
    """A buffer for ``most_bytes`` at most.

    What is over is not made first and thrown away then.
    """

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._left = most_bytes

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._left -= written
        if self._left < 0:
            raise TooLarge
        return written


def _pickled(value: object, most_bytes: int | None) -> Pickled:
    file = io.BytesIO() if most_bytes is None else _Limited(most_bytes)
    pickler = _pickler_type()(file)
    try:
        pickler.dump(value)
    except TooLarge:
        raise
    except Exception as error:  # the reduction is the user's code, which may raise anything
        raise BadValue(
            f"a value of type {class_name(type(value))} cannot be pickled:"
            f" {type(error).__name__}: {error!s:.300}",
            hint="plain data, or a class with __getstate__ that leaves out what is open",
        ) from error
    return Pickled(
        file.getvalue(),
        tuple(pickler.leaves),
        frozenset(pickler.modules),
        tuple(pickler.bundles.values()),
        pickler.from_script,
    )


@functools.cache
def _pickler_type() -> Any:
    # Made when it is needed: importing bundlerun brings no cloudpickle.
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        """Notes what it writes by reference and by value."""

        def __init__(self, file: io.BytesIO) -> None:
            super().__init__(file)
            self.leaves: list[object] = []
            self.modules: set[str] = set()
            self.bundles: dict[str, BundleRecord] = {}
            self.from_script = False
            self._numbers: dict[int, int] = {}

        def persistent_id(self, obj: object) -> int | None:
            """The number of a leaf; the same object has it each time."""
            if isinstance(obj, BundleRecord):
                self.bundles[obj.id] = obj
            if type(obj) is not File and type(obj) is not Directory:
                return None
            if id(obj) not in self._numbers:
                self._numbers[id(obj)] = len(self.leaves)
                self.leaves.append(obj)
            return self._numbers[id(obj)]

        def reducer_override(self, obj: Any) -> Any:
            """As cloudpickle's; what it says shows how ``obj`` travels."""
            if isinstance(obj, memoryview | io.TextIOWrapper) and not _standard(obj):
                # cloudpickle would make bytes and a StringIO of them.
                raise TypeError(f"a {type(obj).__name__} would come back as something else")
            if isinstance(obj, functools._lru_cache_wrapper) and _is_dynamic(obj.__wrapped__):
                return _cached, (obj.__wrapped__, obj.cache_parameters())
            reduced = super().reducer_override(obj)
            if isinstance(obj, ModuleType):
                self.modules.add(obj.__name__)
            elif reduced is NotImplemented:
                kept = obj if isinstance(obj, type | FunctionType) else type(obj)
                self.modules.add(str(getattr(kept, "__module__", "")))
            else:
                self.from_script |= getattr(obj, "__module__", None) == "__main__"
                if isinstance(obj, FunctionType):
                    self.modules.update(imported_by(obj))
            return reduced

    return Pickler


def _is_dynamic(function: Any) -> bool:
    """Whether no other process can import what stands under the name of ``function``."""
    module = getattr(function, "__module__", None)
    return module == "__main__" or "<locals>" in function.__qualname__ or module not in sys.modules


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    """A cache of ``function``, empty: pickle knows caches by their names alone."""
    return functools.lru_cache(**parameters)(function)


def imported_by(function: FunctionType) -> Iterator[str]:
    """The dotted names that the code of ``function`` may import when it runs."""
    package = function.__globals__.get("__package__") or ""
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        waiting += [each for each in code.co_consts if isinstance(each, CodeType)]
        yield from _imported(code, package)
        if _IMPORTERS.intersection(code.co_names):
            yield from (each for each in code.co_consts if _is_dotted(each))


def _imported(code: CodeType, package: str) -> Iterator[str]:
    # Of `from .a import b` the stack has the level, 1, and ("b",) before the name is asked for.
    level: Any = None
    names: Any = None
    for step in dis.get_instructions(code):
        if step.opname == "EXTENDED_ARG":
            continue
        if step.opname == "IMPORT_NAME":
            base = _absolute(str(step.argval), level, package)
            if base is not None:
                yield base
                yield from (f"{base}.{name}" for name in names or () if name != "*")
        level, names = names, step.argval


def _absolute(name: str, level: int, package: str) -> str | None:
    try:
        return resolve_name("." * level + name, package) if level else name
    except ImportError:
        return None


def _is_dotted(text: object) -> bool:
    return isinstance(text, str) and all(part.isidentifier() for part in text.split("."))


def _is_bare(module: ModuleType | None) -> bool:
    """Whether a program made the module, which then has neither file nor spec."""
    if module is None or module.__name__ in ("__main__", "builtins"):
        return False
    return getattr(module, "__file__", None) is None and getattr(module, "__spec__", None) is None


def _standard(obj: object) -> bool:
    """Whether ``obj`` is a stream that every process has one of."""
    return any(obj is each for each in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__))


def class_name(kind: type) -> str:
    """The name of a class as a person reads it, without that of the builtins."""
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"
