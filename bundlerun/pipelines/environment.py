"""The environment of a pipe besides its code: Python, platform, distributions."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from bundlerun.bundles.digest import canonical_json, digest_of

# Neither takes part in what a pipe computes, and both change without the user's doing.
_IGNORED = frozenset({"bundlerun", "pip"})

_YOUNG_NS = 2_000_000_000
"""Two changes within a tick of the file system's clock leave the same time."""

_LISTED: dict[tuple[tuple[str, int], ...], str] = {}


def local_environment() -> str:
    """This machine's environment as the text ``python X.Y PLATFORM DIGEST``.

    The digest is that of the installed distributions' names and versions. Inside a container the
    image's environment digest takes its place.
    """
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"python {python} {sysconfig.get_platform()} {_distributions_digest()}"


def _distributions_digest() -> str:
    # Installing or removing a distribution adds or removes an entry, and so changes the folder's
    # time: no entry is read again while that stands, and lies far enough back to change again.
    now_ns = time.time_ns()
    folders = tuple((folder, os.stat(folder).st_mtime_ns) for folder in _site_folders())
    digest = _LISTED.get(folders)
    if digest is None:
        names: dict[str, str] = {}
        for folder, _ in folders:
            for name, version in _distributions(folder):
                names.setdefault(name, version)
        rows = sorted([n, v] for n, v in names.items() if n not in _IGNORED)
        digest = digest_of(canonical_json(rows))
        _LISTED.clear()
        if all(time_ns <= now_ns - _YOUNG_NS for _, time_ns in folders):
            _LISTED[folders] = digest
    return digest


def _site_folders() -> list[str]:
    """The folders on the import path where installers write, not the user's own."""
    known = ("site-packages", "dist-packages")
    found = [p for p in sys.path if os.path.basename(p) in known and os.path.isdir(p)]
    return list(dict.fromkeys(found))


def _distributions(folder: str) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for entry_name in names:
        stem, suffix = os.path.splitext(entry_name)
        if suffix not in (".dist-info", ".egg-info"):
            continue
        # NAME-VERSION.dist-info (PEP 376, PEP 427); an egg-info folder may lack the version.
        name, _, version = stem.partition("-")
        if not version:
            version = _egg_version(Path(folder, entry_name, "PKG-INFO"))
        yield name.lower().replace("_", "-"), version


def _egg_version(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = (line[8:].strip() for line in text.splitlines() if line.startswith("Version:"))
    return next(found, "")
