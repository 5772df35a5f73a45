"""Encoding of a value into nodes and leaves.

A value that would not come back equal is refused, by its path.
"""

from __future__ import annotations

import errno
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from bundlerun.bundles.link import Link
from bundlerun.bundles.record import FORMAT
from bundlerun.bundles.storage import Sink, Stamp
from bundlerun.bundles.value import kinds  # noqa: F401 - it puts the rows into the table
from bundlerun.bundles.value.cures import cure, key_cure
from bundlerun.bundles.value.kind import (
    BY_TYPE,
    CONTAINER_TYPES,
    FLATTER,
    MAX_DEPTH,
    MAX_VALUES,
    CannotKeep,
    Kind,
    kind_of,
)
from bundlerun.bundles.value.lost_paths import NO_PATHS, LostPaths
from bundlerun.bundles.value.nodes import OWN_NODE_BYTES, cut, link_bytes, put_node
from bundlerun.errors import BadPath, BadValue, BundlerunError

_IN_MEMORY_BYTES = 32 * 1024 * 1024
"""Larger tables and arrays are written to a temporary file first."""

Where = tuple["Where | None", Any]
"""The path in the tree: the part before, and the index or key of this one.

It becomes text only when there is something to tell.
"""

_TOP: Where = (None, "value")


def encode_value(value: object, sink: Sink, lost: LostPaths = NO_PATHS) -> Link:
    """Put ``value`` into ``sink``; its root, equal for equal values.

    A text that names a file below the folders of ``lost`` is not kept. Raises BadValue, naming the
    path in the tree (``value["a"][3]``), for what would not come back equal: a type that is not
    kept, a subclass of one, a cycle, containers nested over 100 deep; BadPath for a file or folder
    that cannot be kept.
    """
    return _Freezing(sink, lost).root(value)


class _Freezing:
    """The making of terms from values; what an ``Encoder`` has is for the kinds."""

    def __init__(self, sink: Sink, lost: LostPaths) -> None:
        self._sink = sink
        self.put_bytes: Callable[[bytes], Link] = sink.put_bytes
        self.check_text: Callable[[str], None] = lost.check_text
        self.check_array: Callable[[Any], None] = lost.check_array
        self.check_table: Callable[[Any], None] = lost.check_table
        self._parts = 0
        self._open: set[int] = set()

    def root(self, value: object) -> Link:
        term = self._term(value, _TOP, 0)
        return put_node(b'{"format":%d,"value":%s}' % (FORMAT, term), self.put_bytes)

    def _term(self, value: Any, where: Where, depth: int) -> bytes:
        self._parts += 1
        if self._parts > MAX_VALUES:
            raise BadValue(
                f"{_text(where)} is single value {MAX_VALUES + 1}; a bundle has "
                f"{MAX_VALUES} at most",
                hint="a table, an array or a file",
            )
        try:
            kind = BY_TYPE.get(type(value))
            if kind is None:
                if type(value) in CONTAINER_TYPES:
                    return self._container(value, where, depth)
                kind = _kind_of(value)
            if kind.encode is not None:
                return kind.encode(value, self)
            assert kind.write is not None
            return kind.write(value)
        except CannotKeep as error:
            raise BadValue(
                f"a bundle cannot keep {_text(where)}: {error.reason}", hint=error.hint
            ) from error
        except BadPath as error:
            raise BadPath(f"{_text(where)}: {error.message}", hint=error.hint) from error

    def _container(self, value: Any, where: Where, depth: int) -> bytes:
        if depth >= MAX_DEPTH:
            raise BadValue(
                f"{_text(where)[:200]}... is nested deeper than {MAX_DEPTH}", hint=FLATTER
            )
        if id(value) in self._open:
            raise BadValue(
                f"{_text(where)} contains itself",
                hint="a key or an index instead of the object itself",
            )
        self._open.add(id(value))
        row = CONTAINER_TYPES[type(value)]
        if row.check is not None:
            row.check(value)
        if row.is_mapping:
            entries = [self._pair(key, each, where, depth + 1) for key, each in value.items()]
        else:
            entries = [self._entry(each, (where, at), depth + 1) for at, each in enumerate(value)]
        self._open.discard(id(value))
        found = cut(entries, self.put_bytes)
        return b'{"%s":%s}' % (row.tag.encode(), found)

    def _entry(self, value: Any, where: Where, depth: int) -> bytes:
        term = self._term(value, where, depth)
        if len(term) <= OWN_NODE_BYTES:
            return term
        link = put_node(b'{"term":%s}' % term, self.put_bytes)
        return b'{"node":%s}' % link_bytes(link)

    def _pair(self, key: Any, value: Any, where: Where, depth: int) -> bytes:
        kind = BY_TYPE.get(type(key))
        if kind is None or not kind.is_key:
            raise CannotKeep(
                f"the key {key!r:.80} of type {type(key).__module__}.{type(key).__qualname__}",
                hint=key_cure(key),
            )
        inner = (where, key)
        return b"[%s,%s]" % (self._term(key, inner, depth), self._entry(value, inner, depth))

    def put_files(self, folder: Path, files: Sequence[tuple[str, Stamp]]) -> Sequence[Link]:
        """Keep files of a folder, in their order.

        Raises BadPath for what cannot be read.
        """
        try:
            return self._sink.put_files(folder, files)
        except (FileNotFoundError, PermissionError) as error:
            raise BadPath(
                f"{error.filename!r:.300} cannot be read: {error.strerror}",
                hint=f"ls -l {error.filename!r:.300}",
            ) from error

    def written(
        self,
        write: Callable[[BinaryIO], None],
        size: int,
        check: Callable[[Any], None] = lambda data: None,
    ) -> Link:
        """Keep what ``write`` writes, about ``size`` bytes.

        ``check`` is given the path or the bytes first, and raises to refuse them.
        """
        if size <= _IN_MEMORY_BYTES:
            memory = io.BytesIO()
            write(memory)
            data = memory.getvalue()
            check(data)
            return self.put_bytes(data)
        with tempfile.TemporaryDirectory(prefix="bundlerun-") as folder:
            path = Path(folder) / "leaf"
            try:
                with path.open("w+b") as file:
                    write(file)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise BundlerunError(
                    f"no space left for temporary files in {tempfile.gettempdir()}",
                    hint="TMPDIR=DIR, with a folder on another disk, before the same command",
                ) from error
            check(path)
            return self._sink.put_file(path)


def _kind_of(value: Any) -> Kind:
    found = kind_of(value)
    if found is None:
        kind = type(value)
        raise CannotKeep(f"it is a {kind.__module__}.{kind.__qualname__}", hint=cure(value))
    return found


def _text(where: Where) -> str:
    steps: list[str] = []
    before, step = where
    while before is not None:
        if type(step) is int and step.bit_length() > 1024:
            steps.append(f"[an integer of {step.bit_length()} bits]")
        else:
            shown = json.dumps(step, ensure_ascii=False) if type(step) is str else repr(step)
            steps.append(f"[{shown:.200}]")
        before, step = before
    return "value" + "".join(reversed(steps))
