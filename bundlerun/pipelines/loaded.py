"""The imported modules of this process, compared with the files as they are now."""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.errors import BadModule

# What each module's file held when it was imported, by the name in sys.modules, with the spec
# that the import made: a reload makes another one.
_LOADED: dict[str, tuple[object, Digest]] = {}

_UNKNOWN = Digest("")


def note_loaded(module_name: str) -> None:
    """Remember what the module's file holds now, unless this import is known already.

    Where Python's own cache says that the file was edited since it was imported, what it held then
    is not known, and nothing is equal to it.
    """
    module = sys.modules.get(module_name)
    spec = getattr(module, "__spec__", None)
    known = _LOADED.get(module_name)
    if module is None or (known is not None and known[0] is spec):
        return
    try:
        held = Path(getattr(module, "__file__", None) or "").read_bytes()
    except OSError:
        return  # no file, so nothing that could change; location_of refuses such a module
    _LOADED[module_name] = (spec, _UNKNOWN if _was_edited(spec, held) else digest_of(held))


def _was_edited(spec: Any, source: bytes) -> bool:
    """Whether ``source`` of an imported module is not what its import compiled.

    An import leaves what it compiled in ``__pycache__``, unless it was there (PEP 3147, and PEP 552
    for its head: magic number, flags, time and size of the source). False where that cannot be
    told.
    """
    if type(getattr(spec, "loader", None)) is not SourceFileLoader or sys.dont_write_bytecode:
        return False
    try:
        cached = Path(spec.cached or "").read_bytes()
        found = os.stat(spec.origin)
    except OSError:
        return False
    head, code = cached[:16], cached[16:]
    if head[:8] != MAGIC_NUMBER + bytes(4) or not os.access(spec.cached, os.W_OK):
        return False
    made = int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF
    if head[8:] == b"".join(number.to_bytes(4, "little") for number in made):
        return False
    try:
        return bool(marshal.loads(code) != compile(source, spec.origin, "exec", dont_inherit=True))
    except (SyntaxError, ValueError, EOFError, TypeError):
        return True


def check_own(module_name: str, path: Path) -> None:
    """Refuse a ``module_name`` that was imported from another file than ``path``.

    It is another project's module, which runs in this process in the place of this one's. Raises
    BadModule.
    """
    there = getattr(sys.modules.get(module_name), "__file__", None)
    if module_name in sys.modules and not _is_same(there, path):
        raise BadModule(
            f"this process has another module {module_name} already, from {there}; "
            f"{path} is hidden by it",
            hint="restart Python for each project, or give the module a name of its own",
        )


def _is_same(there: str | None, path: Path) -> bool:
    try:
        return there is not None and os.path.samefile(there, path)
    except OSError:
        return there == str(path)


def check_loaded(module_name: str, path: Path, digest: Digest) -> None:
    """Refuse a ``path`` that was edited after its import, or that is hidden.

    It holds ``digest`` now. Where it changed, or another module of its name hides it, the code that
    would run is not the code that would be recorded. Raises BadModule.
    """
    if module_name in sys.modules:
        check_own(module_name, path)
    module: Any = sys.modules.get(module_name)
    if module is None and getattr(sys.modules.get("__main__"), "__file__", None) == str(path):
        module_name = "__main__"
    elif module is None or getattr(module, "__file__", None) != str(path):
        return
    note_loaded(module_name)
    known = _LOADED.get(module_name)
    if known is not None and known[1] != digest:
        raise BadModule(
            f"{path} was edited after this process imported it",
            hint="restart Python, or importlib.reload the module",
        )
