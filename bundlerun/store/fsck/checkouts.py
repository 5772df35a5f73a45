"""Check of a store's named files and folders against what their names say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bundlerun.bundles.digest import Digest, digest_of, digest_of_file
from bundlerun.bundles.link import PART_BYTES, Hashing, Link
from bundlerun.bundles.value import files
from bundlerun.bundles.value.files import directory_root
from bundlerun.bundles.value.nodes import cut, link_bytes
from bundlerun.bundles.value.scalars import text_term
from bundlerun.errors import BadPath
from bundlerun.store.atomic import EXECUTABLE_MODE, FILE_MODE, UNFINISHED
from bundlerun.store.fsck.objects import Copy
from bundlerun.store.fsck.quarantine import Quarantine
from bundlerun.store.reports import Fault, Finding, Kind
from bundlerun.store.store import Store

_NAME = re.compile(r"([0-9a-f]{64})(\+x|\+d|)")


class FilesProof:
    """A scan of ``files/``.

    On the way bytes of ``wanted`` objects are noted in ``copies``.
    """

    def __init__(self, store: Store, wanted: frozenset[Digest], looked_at: Counter[str]) -> None:
        self._store = store
        self._folder = store.path / "files"
        self._wanted = wanted
        self._looked_at = looked_at
        self._quarantine = Quarantine(store.path)
        self.copies: dict[Digest, Copy] = {}
        self.faults: list[Fault] = []

    def scan(self) -> None:
        """Look at everything."""
        for entry in _inside(self._folder):
            match = _NAME.fullmatch(entry.name)
            if match is None or not entry.is_dir() or entry.is_symlink():
                self._litter(entry)
                continue
            digest, kind = Digest(match[1]), match[2]
            with self._reading(entry):
                for path in _inside(entry):
                    with self._reading(path):
                        self._look_at(path, digest, kind)

    def _look_at(self, path: Path, digest: Digest, kind: str) -> None:
        if UNFINISHED.fullmatch(path.name) or path.is_symlink():
            self._litter(path)
        elif kind == "+d":
            self._looked_at["localised folders"] += 1
            self._directory(path, digest)
        else:
            self._looked_at["localised files"] += 1
            self._file(path, digest, EXECUTABLE_MODE if kind else FILE_MODE)

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """One path that cannot be read is found, and hides no other."""
        try:
            yield
        except FileNotFoundError:
            pass  # The owner of the path took it away meanwhile.
        except OSError as error:
            self._damaged(path, f"it cannot be read: {error.strerror}")

    def _file(self, path: Path, digest: Digest, mode: int) -> None:
        if not path.is_file():
            self._damaged(path, "not a regular file")
            return
        if self._hashed(path) != digest:
            self._differs(path, [path], "its bytes are others than its object's")
        elif stat.S_IMODE(path.stat().st_mode) != mode:
            self._wrong_mode(path, mode)

    def _directory(self, path: Path, root: Digest) -> None:
        try:
            found = files.scan(path)
        except (BadPath, OSError) as error:
            self._damaged(path, f"not a folder of files: {error}")
            return
        entries = []
        strange = []
        for each in found:
            link = None
            if each.stamp is not None:
                file = path / each.path
                link = self._link(file)
                if not self._store.objects.has(link.digest):
                    strange.append(each.path)
            linked = None if link is None else link_bytes(link)
            entries.append(files.entry_bytes(text_term(each.path), linked, each.executable))
        body = cut(entries, lambda data: Link(digest_of(data), len(data)))
        if directory_root(json.loads(body)).digest != root:
            which = f": {', '.join(strange[:3])}" if strange else ""
            detail = f"it has other files than it was made with{which}"
            self._differs(path, [path / each for each in strange], detail)
            return
        for each in found:
            mode = EXECUTABLE_MODE if each.executable else FILE_MODE
            file = path / each.path
            if each.stamp is not None and stat.S_IMODE(file.stat().st_mode) != mode:
                self._wrong_mode(file, mode)

    def _link(self, path: Path) -> Link:
        """The link of a file, its parts named where it is large."""
        size = path.stat().st_size
        if size <= PART_BYTES:
            return Link(self._hashed(path), size)
        hashing = Hashing()
        with path.open("rb") as file:
            for _ in hashing.passing(iter(lambda: file.read(PART_BYTES), b"")):
                pass
        link, _ = hashing.finished()
        self._note(link.digest, path)
        return link

    def _hashed(self, path: Path) -> Digest:
        digest = digest_of_file(path)
        self._note(digest, path)
        return digest

    def _note(self, digest: Digest, path: Path) -> None:
        if digest in self._wanted:
            self.copies.setdefault(digest, lambda: path)

    def _differs(self, path: Path, files: list[Path], detail: str) -> None:
        """Note that ``path`` is not what its name says.

        It is damage where a reader would get one of ``files`` as it is. What a program wrote to, or
        a power loss cut off, is noticed by readers and made again.
        """
        if any(map(self._store.objects.localised.is_believed, files)):
            self._damaged(path, detail)
        else:
            self._aside(Kind.STALE, path, detail)

    def _damaged(self, path: Path, detail: str) -> None:
        self._aside(Kind.DAMAGED, path, detail)

    def _aside(self, kind: Kind, path: Path, detail: str) -> None:
        def mend() -> None:
            self._quarantine.take(path)

        self._fault(kind, path, detail, "moved to quarantine/; the next get makes it again", mend)

    def _wrong_mode(self, path: Path, mode: int) -> None:
        detail = oct(stat.S_IMODE(path.stat().st_mode))[2:]
        self._fault(Kind.MODE, path, detail, f"chmod {mode:o}", lambda: path.chmod(mode))

    def _litter(self, path: Path) -> None:
        self._fault(Kind.LITTER, path, "unfinished, or nobody's", "bundlerun gc", None)

    def _fault(
        self, kind: Kind, path: Path, detail: str, how: str, mend: Callable[[], None] | None
    ) -> None:
        where = str(path.relative_to(self._store.path))
        self.faults.append(Fault(Finding(kind, f"localised {path.name}", where, detail, how), mend))


def _inside(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    yield from (folder / name for name in names)
