"""A remote in a folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from bundlerun.errors import AccessDenied, RemoteUnreachable, UsageError
from bundlerun.remotes import folder_uploads
from bundlerun.remotes.base import KeyInfo, Part, Remote, Upload, checked_key
from bundlerun.store.atomic import sync_folder

ASIDE = ".aside"
"""The folder where files grow before they get their key.

It is on the same file system, and in no listing.
"""

_CHUNK = 1 << 20
_FOLDER_MODE = 0o755
_FILE_MODE = 0o444


class FileRemote(Remote):
    """A remote whose keys are files below a folder.

    Files have the mode 0444 in folders of 0755 whatever the umask, so that another user (a
    container's) reads what this one wrote. Everything appears whole: a synced file aside, then
    rename(2), or link(2) for create-only keys.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.root = folder_of(url)
        self._settled: set[Path] = set()

    @classmethod
    def checked_url(cls, url: str) -> str:
        """See Remote."""
        return "file://" + quote(str(folder_of(url)))

    @property
    def folder(self) -> Path:
        """See Remote."""
        return self.root

    def prepare(self) -> None:
        """Make the folder unless it is there."""
        with self._translated("making the folder"):
            missing = [self.root]
            while not missing[-1].parent.is_dir():
                missing.append(missing[-1].parent)
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                # Who may not read the folder above has made nothing in it.
                with suppress(PermissionError):
                    sync_folder(folder.parent)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """See Remote."""
        with self._translated(f"reading {key}"):
            file = self._open(key)
            if file is None:
                return None
            with file:
                file.seek(start)
                # The claim of a length is a hint: memory is asked for what is really there.
                there = max(os.fstat(file.fileno()).st_size - start, 0)
                return file.read(there if length is None else min(length, there))

    def get_file(self, key: str, target: Path, length: int | None = None) -> bool:
        """See Remote."""
        with self._translated(f"reading {key}"):
            file = self._open(key)
            if file is None:
                return False
            with file, target.open("wb") as out:
                left = os.fstat(file.fileno()).st_size if length is None else length
                while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                    out.write(chunk)
                    left -= len(chunk)
            return True

    def put(self, key: str, data: bytes) -> None:
        """See Remote."""
        with self._translated(f"writing {key}"), self._aside() as (path, file):
            file.write(data)
            self._finish(file)
            self._place(path, self._path(key))

    def put_file(self, key: str, source: Path, tail: bytes = b"") -> None:
        """See Remote."""
        with self._translated(f"writing {key}"), self._aside() as (path, file):
            with source.open("rb") as bytes_of_source:
                shutil.copyfileobj(bytes_of_source, file, _CHUNK)
            file.write(tail)
            self._finish(file)
            self._place(path, self._path(key))

    def begin(self, key: str, part_bytes: int) -> Upload | None:
        """See Remote."""
        upload = Upload(checked_key(key), uuid.uuid4().hex, part_bytes)
        with self._translated(f"writing {key}"):
            self._check_root()
            _make_folder(self.root / ASIDE)
            folder_uploads.begin(self._growing(upload))
        return upload

    def parts(self, upload: Upload) -> dict[int, Part] | None:
        """See Remote."""
        with self._translated(f"reading the parts of {upload.key}"):
            return folder_uploads.parts(self._growing(upload))

    def put_part(self, upload: Upload, number: int, data: bytes) -> Part:
        """See Remote."""
        with self._translated(f"writing {upload.key}"):
            return folder_uploads.put_part(self._growing(upload), upload, number, data)

    def complete(self, upload: Upload, parts: Mapping[int, Part]) -> None:
        """See Remote."""
        path = self._growing(upload)
        with self._translated(f"writing {upload.key}"):
            # Read-only already where an earlier attempt died here.
            with path.open("rb") as file:
                self._finish(file)
            self._place(path, self._path(upload.key))
            folder_uploads.forget(path)

    def abort(self, upload: Upload) -> None:
        """See Remote."""
        with self._translated(f"giving up {upload.key}"):
            folder_uploads.remove(self._growing(upload))

    def put_new(self, key: str, data: bytes) -> bool:
        """See Remote."""
        with self._translated(f"creating {key}"), self._aside() as (path, file):
            file.write(data)
            self._finish(file)
            target = self._path(key)
            self._make_parents(target)
            try:
                os.link(path, target)
                return True
            except FileExistsError:
                return False
            finally:
                # Also where it was there: its maker may have died before this, and what
                # follows is built upon it.
                sync_folder(target.parent)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[KeyInfo]:
        """See Remote.

        Links and special files are not keys.
        """
        left = limit
        folder, _, _ = prefix.rpartition("/")
        with self._translated(f"listing {prefix}"):
            self._check_root()
            self._unlinked(self.root / folder / "any")
            for entry in self._below(folder + "/" if folder else "", prefix, after.encode()):
                if left is not None:
                    if left <= 0:
                        return
                    left -= 1
                yield entry

    def now_s(self) -> float:
        """See Remote: the file system's clock, which may be another machine's."""
        with self._translated("asking for the time"), self._aside() as (_, file):
            file.write(b"?")
            file.flush()
            return os.fstat(file.fileno()).st_ctime

    def litter(self, older_than_s: float) -> Sequence[KeyInfo]:
        """See Remote: files that never got their key."""
        before_s = self.now_s() - older_than_s
        found = []
        with self._translated("looking for litter"), os.scandir(self.root / ASIDE) as rows:
            for row in rows:
                try:
                    told = row.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(told.st_mode) and told.st_ctime < before_s:
                    found.append(KeyInfo(row.name, told.st_size, told.st_ctime))
        return found

    def discard(self, litter: Sequence[KeyInfo]) -> None:
        """See Remote."""
        with self._translated("removing litter"):
            for entry in litter:
                (self.root / ASIDE / checked_key(entry.key)).unlink(missing_ok=True)

    def delete(self, keys: Sequence[str]) -> None:
        """See Remote."""
        with self._translated("deleting keys"):
            self._check_root()
            for key in keys:
                self._path(key).unlink(missing_ok=True)

    def _below(self, folder: str, prefix: str, after: bytes) -> Iterator[KeyInfo]:
        """The entries of one folder, and of those below it, in the order of keys.

        ``folder`` is its key, with the slash.
        """
        rows: list[tuple[bytes, str, os.DirEntry[str]]] = []
        try:
            with os.scandir(self.root / folder) as found:
                for entry in found:
                    if folder == "" and entry.name == ASIDE:
                        continue
                    deep = entry.is_dir(follow_symlinks=False)
                    if deep or entry.is_file(follow_symlinks=False):
                        key = folder + entry.name + ("/" if deep else "")
                        rows.append((os.fsencode(key), key, entry))
        except (FileNotFoundError, NotADirectoryError):
            return
        # With its slash a folder sorts where its keys do: "a+x" comes before "a/b".
        for encoded, key, entry in sorted(rows, key=lambda row: row[0]):
            if key.endswith("/"):
                reached = key.startswith(prefix) or prefix.startswith(key)
                if reached and (encoded > after or after.startswith(encoded)):
                    yield from self._below(key, prefix, after)
            elif key.startswith(prefix) and encoded > after:
                try:
                    told = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                # ctime: the moment it got its key, however long its bytes had lain aside.
                yield KeyInfo(key, told.st_size, told.st_ctime)

    def _open(self, key: str) -> BinaryIO | None:
        # No link is followed and no pipe waited for: what a container left here may be hostile.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(self._path(key), flags)
        except (FileNotFoundError, NotADirectoryError):
            self._check_root()
            return None
        kind = os.fstat(handle).st_mode
        if stat.S_ISREG(kind):
            return os.fdopen(handle, "rb")
        os.close(handle)
        if stat.S_ISDIR(kind):
            return None
        raise RemoteUnreachable(
            f"{key} at {self.url} is not a regular file", hint=f"ls -l {self._path(key)}"
        )

    def _path(self, key: str) -> Path:
        if key.split("/")[0] == ASIDE:
            raise UsageError(f"{key!r:.200} is not a key of a remote")
        return self._unlinked(self.root / checked_key(key))

    def _growing(self, upload: Upload) -> Path:
        return self._unlinked(self.root / ASIDE / checked_key(upload.name).replace("/", "_"))

    def _unlinked(self, path: Path) -> Path:
        """``path``, none of whose folders below the root is a symbolic link.

        A link could lead anywhere. Raises RemoteUnreachable.
        """
        folder = path.parent
        while folder != self.root:
            if folder.is_symlink():
                raise RemoteUnreachable(
                    f"{folder.name} at {self.url} is a symbolic link, which a remote cannot have",
                    hint=f"ls -l {folder}",
                )
            folder = folder.parent
        return path

    def _check_root(self) -> None:
        if not self.root.is_dir():
            raise RemoteUnreachable(
                f"{self.url}: there is no such folder; is its file system mounted?",
                hint=f"mkdir -p {self.root}",
            )

    @contextmanager
    def _aside(self) -> Iterator[tuple[Path, BinaryIO]]:
        folder = self.root / ASIDE
        self._check_root()
        _make_folder(folder)
        path = self._unlinked(folder / uuid.uuid4().hex)
        with path.open("xb") as file:
            try:
                yield path, file
            finally:
                path.unlink(missing_ok=True)

    def _finish(self, file: BinaryIO) -> None:
        file.flush()
        os.fchmod(file.fileno(), _FILE_MODE)
        os.fsync(file.fileno())

    def _place(self, aside: Path, target: Path) -> None:
        self._make_parents(target)
        os.replace(aside, target)
        sync_folder(target.parent)

    def _make_parents(self, target: Path) -> None:
        unsure = []
        folder = target.parent
        while folder != self.root and not (folder in self._settled and folder.is_dir()):
            unsure.append(folder)
            folder = folder.parent
        for folder in reversed(unsure):
            # Where it is there already, its maker may have died before it was synced.
            _make_folder(folder)
            sync_folder(folder.parent)
            self._settled.add(folder)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise AccessDenied(
                f"{what} at {self.url}: {error.strerror} ({error.filename})",
                hint=f"ls -ld {self.root}",
            ) from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RemoteUnreachable(
                    f"{what} at {self.url}: the path is a symbolic link", hint=f"ls -l {self.root}"
                ) from error
            words = error.strerror or str(error)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise RemoteUnreachable(
                f"{what} at {self.url}: {words}",
                hint=f"df -h {self.root}" if full else f"ls -ld {self.root}",
            ) from error


def folder_of(url: str) -> Path:
    """The folder that a ``file://`` URL names.

    Raises UsageError for any other form.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme != "file" or parts.netloc or not path.startswith("/") or "\0" in path:
        raise UsageError(f"{url!r} must name a folder by its absolute path", hint="file:///dir")
    if parts.query or parts.fragment:
        raise UsageError(
            f"{url!r} has a ? or #, which a URL must have as %3F and %23",
            hint=url.replace("?", "%3F").replace("#", "%23"),
        )
    return Path(os.path.normpath(path))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        return
    # mkdir(2) takes the umask off; all who share this remote must read it all the same.
    folder.chmod(_FOLDER_MODE)
