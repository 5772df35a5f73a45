"""The build context: the Dockerfile and the recipe's files, as a tar or a folder."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from bundlerun.bundles.digest import digest_of
from bundlerun.errors import BuildFailed, UsageError
from bundlerun.images.dockerfile import VENV, Index, dockerfile
from bundlerun.images.recipe import ContextFile, Recipe

_WRITTEN = frozenset({"Dockerfile", "requirements", "wheel", "code"})

_MTIME_S = 315_532_800  # 1980-01-01 UTC: zip files, which wheels are, know nothing older.


def context_tar(recipe: Recipe, index: Index = Index.DEFAULT) -> IO[bytes]:
    """The context as a tar in a temporary file; same recipe, same bytes.

    The file is gone when closed. Raises BuildFailed when a file changed since the recipe was made.
    """
    archive = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    try:
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
            _add(tar, "Dockerfile", dockerfile(recipe.ingredients, index).encode(), False)
            for file in recipe.files:
                _add(tar, file.path, bytes_of(file), file.executable)
        archive.seek(0)
    except BaseException:
        archive.close()
        raise
    return archive


def write_context(recipe: Recipe, folder: Path, *, overwrite: bool = False) -> Path:
    """Write the context to ``folder``; the Dockerfile's path.

    ``folder`` must be empty or not there; then ``docker build FOLDER`` makes the image (without its
    labels). Raises UsageError when ``folder`` holds something, BuildFailed when a file changed
    meanwhile.
    """
    if overwrite and _is_context(folder):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty", hint="the path of a folder that does not exist yet"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file in recipe.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_of(file))
        os.chmod(path, 0o755 if file.executable else 0o644)
    place = folder / "Dockerfile"
    place.write_text(dockerfile(recipe.ingredients), encoding="utf-8")
    return place


def _is_context(folder: Path) -> bool:
    """Whether all that is in ``folder`` was written there by ``write_context``."""
    place = folder / "Dockerfile"
    if not place.is_file() or VENV not in place.read_text(encoding="utf-8", errors="replace"):
        return False
    return {path.name for path in folder.iterdir()} <= _WRITTEN


def bytes_of(file: ContextFile) -> bytes:
    """The bytes that are sent of ``file``.

    Raises BuildFailed when it is no longer what the recipe was made of.
    """
    if file.data is not None:
        return file.data
    if file.source is None:
        raise ValueError(f"{file.path} has neither bytes nor a source")
    data = file.source.read_bytes()
    if digest_of(data) != file.digest:
        raise BuildFailed(
            f"{file.source} changed while the image was built", hint="the same command again"
        )
    return data


def _add(tar: tarfile.TarFile, path: str, data: bytes, executable: bool) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(data)
    entry.mtime = _MTIME_S
    entry.mode = 0o755 if executable else 0o644
    tar.addfile(entry, io.BytesIO(data))
