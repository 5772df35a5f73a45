"""The installed bundlerun as a wheel, made with the standard library alone.

``pip wheel`` would need the sources, a build backend and the network; the installed folder and its
metadata are all there is in a wheel. An editable install gives the same bytes as a normal one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bundlerun.errors import SettingsError

_EXTRA = re.compile(
    r"""extra\s*==\s*["']([^"']+)["']|["']([^"']+)["']\s*==\s*extra\b""",
)
_ALWAYS = 'python_version >= "0"'
_NEVER = 'python_version < "0"'

_EPOCH = (1980, 1, 1, 0, 0, 0)  # The earliest time that a zip can hold.


@dataclass(frozen=True)
class Wheel:
    """A wheel file: its name, its bytes, and its requirements (PEP 508)."""

    filename: str
    data: bytes
    requires: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]
    version: str


def repack() -> Wheel:
    """The running bundlerun as a wheel; the same installation gives the same bytes.

    Raises SettingsError when bundlerun runs from a folder without having been installed.
    """
    package = Path(__file__).resolve().parent.parent
    try:
        installed = metadata.distribution("bundlerun")
    except metadata.PackageNotFoundError as error:
        raise SettingsError(
            f"bundlerun at {package} is not installed, so no image can take it along",
            hint="pip install bundlerun",
        ) from error
    version = installed.version
    about = installed.read_text("METADATA") or installed.read_text("PKG-INFO") or ""
    folder = f"bundlerun-{version}.dist-info"
    members = {
        f"bundlerun/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    members[f"{folder}/METADATA"] = about.encode()
    members[f"{folder}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: bundlerun\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    members[f"{folder}/entry_points.txt"] = _entry_points(installed)
    requires, extras = _requirements(installed.requires or [])
    filename = f"bundlerun-{version}-py3-none-any.whl"
    return Wheel(filename, _zipped(members, f"{folder}/RECORD"), requires, extras, version)


def extras() -> dict[str, tuple[str, ...]]:
    """The requirements of each extra of the running bundlerun.

    There are none where it is not installed.
    """
    try:
        return _requirements(metadata.requires("bundlerun") or [])[1]
    except metadata.PackageNotFoundError:
        return {}


def _entry_points(installed: metadata.Distribution) -> bytes:
    lines = ["[console_scripts]"]
    lines += sorted(
        f"{point.name} = {point.value}"
        for point in installed.entry_points
        if point.group == "console_scripts"
    )
    return ("\n".join(lines) + "\n").encode()


def _requirements(lines: list[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """``lines`` parted: those without an extra, and those of each extra.

    Those of an extra keep what else their markers say.
    """
    plain: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in lines:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        named = {found[1] or found[2] for found in _EXTRA.finditer(marker)}
        if not named:
            plain.append(line.strip())
        for extra in named:
            rest = _without(marker, extra)
            extras.setdefault(extra, []).append(requirement + (f"; {rest}" if rest else ""))
    return tuple(sorted(plain)), {name: tuple(sorted(found)) for name, found in extras.items()}


def _without(marker: str, extra: str) -> str:
    """The rest of ``marker`` (PEP 508) where ``extra`` alone is asked for, or "".

    "" is for a marker that then always holds. Each clause about an extra becomes one that always,
    or never, holds.
    """
    told = _EXTRA.sub(lambda found: _ALWAYS if extra in (found[1], found[2]) else _NEVER, marker)
    told = told.replace(f"{_ALWAYS} and ", "").replace(f" and {_ALWAYS}", "")
    return "" if told == _ALWAYS else told


def _zipped(members: dict[str, bytes], record: str) -> bytes:
    # RECORD as the wheel specification (PEP 427) wants it: unpadded URL-safe base64 of SHA-256.
    rows = []
    for name in sorted(members):
        digest = base64.urlsafe_b64encode(hashlib.sha256(members[name]).digest()).rstrip(b"=")
        rows.append(f"{name},sha256={digest.decode()},{len(members[name])}\n")
    members = {**members, record: ("".join(rows) + f"{record},,\n").encode()}
    buffer = io.BytesIO()
    # Stored, for how deflate compresses differs between versions of zlib.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            archive.writestr(entry, members[name])
    return buffer.getvalue()
