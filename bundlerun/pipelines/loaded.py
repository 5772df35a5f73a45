"""What the modules of this process were made of when they were imported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.errors import BadModule

# What each module's file held when it was imported, by the name in sys.modules, with the spec
# that the import made: a reload makes another one.
_LOADED: dict[str, tuple[object, Digest]] = {}


def note_loaded(module_name: str) -> None:
    """Remember what the module's file holds now, unless this import of it is known already."""
    module = sys.modules.get(module_name)
    spec = getattr(module, "__spec__", None)
    known = _LOADED.get(module_name)
    if module is None or (known is not None and known[0] is spec):
        return
    try:
        held = Path(getattr(module, "__file__", None) or "").read_bytes()
    except OSError:
        return  # no file, so nothing that could change; home_of refuses such a module
    _LOADED[module_name] = (spec, digest_of(held))


def check_loaded(module_name: str, path: Path, digest: Digest) -> None:
    """Raises BadModule when ``path``, which holds ``digest`` now, was edited after this process
    imported it: the code that would run is not the code that would be recorded."""
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
            hint="start Python anew, or importlib.reload the module",
        )
