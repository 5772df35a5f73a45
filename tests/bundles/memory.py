"""A sink and source over one folder and one dict, as small as the contract allows."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.storage import Stamp
from bundlerun.bundles.value import DirectoryEntry
from bundlerun.errors import IntegrityError


class Memory:
    """Objects in a dict; files and folders are made below ``folder`` when asked for.

    ``mapping`` says how leaves are handed out: by file, by buffer, or not mapped at all.
    ``read_links`` is every link that was read, in order.
    """

    def __init__(self, folder: Path, mapping: str = "file") -> None:
        self.folder = folder
        self.mapping = mapping
        self.objects: dict[Digest, bytes] = {}
        self.read_links: list[Link] = []

    def put_bytes(self, data: bytes) -> Link:
        """Keeps bytes."""
        digest = digest_of(data)
        self.objects[digest] = bytes(data)
        return Link(digest, len(data))

    def put_file(self, path: Path) -> Link:
        """Keeps a file's bytes."""
        return self.put_bytes(path.read_bytes())

    def put_files(self, folder: Path, files: Sequence[tuple[str, Stamp]]) -> list[Link]:
        """Keeps the bytes of each file, whatever its stamp."""
        return [self.put_file(folder / path) for path, _ in files]

    def read(self, link: Link) -> bytes:
        """The bytes, verified."""
        self.read_links.append(link)
        data = self.objects.get(link.digest)
        if data is None or len(data) != link.size:
            raise IntegrityError(f"no {link.digest} of {link.size} bytes")
        return data

    def file(self, link: Link, name: str, executable: bool) -> Path:
        """A read-only file of that name."""
        path = self.folder / f"{link.digest}{'x' if executable else ''}" / name
        self._place(path, link, executable)
        return path

    def directory(
        self, root: Link, name: str, entries: Callable[[], Iterable[DirectoryEntry]]
    ) -> Path:
        """A folder of that name, made once."""
        path = self.folder / root.digest / name
        if path.exists():
            return path
        partial = path.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        for entry in entries():
            inside = partial / entry.path
            if entry.link is None:
                inside.mkdir(parents=True)
            else:
                self._place(inside, entry.link, entry.executable)
        partial.mkdir(parents=True, exist_ok=True)
        os.rename(partial, path)
        return path

    def map(self, link: Link) -> Path | memoryview | None:
        """A leaf's file, buffer, or neither."""
        if self.mapping == "file":
            return self.file(link, "leaf", False)
        return memoryview(self.read(link)) if self.mapping == "buffer" else None

    def bring(self, links: Sequence[Link]) -> None:
        """All that there is is here."""

    def ahead(self, term: object) -> None:
        """All that there is is here."""

    def _place(self, path: Path, link: Link, executable: bool) -> None:
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.read(link))
        path.chmod(0o555 if executable else 0o444)


def nested(folder: Path, levels: int) -> Path:
    """The innermost of so many new folders, one within the other, below the new ``folder``."""
    folder.mkdir()
    for _ in range(levels):
        folder = folder / "a"
        folder.mkdir()
    return folder


def node(memory: Memory, text: str | bytes) -> Link:
    """A node made by hand."""
    return memory.put_bytes(text if isinstance(text, bytes) else text.encode())


def absent(number: int) -> str:
    """The JSON of a link to nothing."""
    return f'["{hashlib.sha256(b"%d" % number).hexdigest()}",{number}]'
