"""A value into nodes and leaves. What would not come back equal is refused, by its path."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.link import Link
from bundlerun.bundles.paths import check_file_name
from bundlerun.bundles.record import FORMAT, BundleRecord
from bundlerun.bundles.value import arrays, files, tables
from bundlerun.bundles.value.cures import cure, key_cure
from bundlerun.bundles.value.files import Directory, File
from bundlerun.bundles.value.lost_paths import NO_PATHS, LostPaths
from bundlerun.bundles.value.nodes import OWN_NODE_BYTES, cut, link_bytes, put_node
from bundlerun.bundles.value.scalars import (
    CONTAINER_TAGS,
    FLATTER,
    MAPPINGS,
    MAX_DEPTH,
    MAX_VALUES,
    SCALARS,
    CannotKeep,
    check_bare,
    text_bytes,
    text_term,
)
from bundlerun.bundles.value.storage import Sink, Stamp, stamp_of
from bundlerun.errors import BadPath, BadValue, BundlerunError, IntegrityError

LONG_BYTES = 1024
LONG_TEXT = 4096
"""Bytes, and texts as JSON, that are longer are leaves of their own."""

_IN_MEMORY_BYTES = 32 * 1024 * 1024
"""Larger tables and arrays are written to a temporary file first."""

_FILES_AT_ONCE = 10_000
"""Of larger folders, so many files are looked up, and remembered, at once."""

Where = tuple["Where | None", Any]
"""The path in the tree: the part before, and the index or key of this one. It becomes text only
when there is something to tell."""

_TOP: Where = (None, "value")


def encode_value(value: object, sink: Sink, lost: LostPaths = NO_PATHS) -> Link:
    """Puts ``value`` into ``sink`` and gives its root, which names it: equal values, equal roots.
    A text that names a file below the folders of ``lost`` is not kept.

    Raises BadValue, naming the path in the tree (``value["a"][3]``), for what would not come back
    equal: a type that is not kept, a subclass of one, a cycle, containers nested over 100 deep;
    BadPath for a file or folder that cannot be kept.
    """
    return _Freezing(sink, lost).root(value)


class _Freezing:
    def __init__(self, sink: Sink, lost: LostPaths) -> None:
        self._sink = sink
        self._lost = lost
        self._parts = 0
        self._open: set[int] = set()

    def root(self, value: object) -> Link:
        term = self._term(value, _TOP, 0)
        return put_node(b'{"format":%d,"value":%s}' % (FORMAT, term), self._sink.put_bytes)

    def _term(self, value: Any, where: Where, depth: int) -> bytes:
        self._parts += 1
        if self._parts > MAX_VALUES:
            raise BadValue(
                f"{_text(where)} is the {MAX_VALUES + 1}th single value, which is one too many",
                hint="a table, an array or a file",
            )
        kind = type(value)
        try:
            if kind is bytes and len(value) > LONG_BYTES:
                return b'{"bytes":%s}' % link_bytes(self._sink.put_bytes(value))
            if kind is str:
                self._lost.check_text(value)
            encode = SCALARS.get(kind)
            if encode is not None:
                term = encode(value)
                return self._long_text(value) if kind is str and len(term) > LONG_TEXT else term
            if kind in CONTAINER_TAGS:
                return self._container(value, where, depth)
            return self._leaf(value)
        except CannotKeep as error:
            raise BadValue(
                f"a bundle cannot keep {_text(where)}: {error.reason}", hint=error.hint
            ) from error
        except BadPath as error:
            raise BadPath(f"{_text(where)}: {error.message}", hint=error.hint) from error

    def _long_text(self, value: str) -> bytes:
        return b'{"str":%s}' % link_bytes(self._sink.put_bytes(text_bytes(value)))

    def _container(self, value: Any, where: Where, depth: int) -> bytes:
        if depth >= MAX_DEPTH:
            raise BadValue(
                f"{_text(where)[:200]}... is nested deeper than {MAX_DEPTH}", hint=FLATTER
            )
        if id(value) in self._open:
            raise BadValue(
                f"{_text(where)} contains itself", hint="a key or an index in the place of the loop"
            )
        self._open.add(id(value))
        tag = CONTAINER_TAGS[type(value)]
        if tag in MAPPINGS:
            if tag != "dict":
                check_bare(value)
            entries = [self._pair(key, each, where, depth + 1) for key, each in value.items()]
        else:
            entries = [self._entry(each, (where, at), depth + 1) for at, each in enumerate(value)]
        self._open.discard(id(value))
        found = cut(entries, self._sink.put_bytes)
        return b'{"%s":%s}' % (tag.encode(), found)

    def _entry(self, value: Any, where: Where, depth: int) -> bytes:
        term = self._term(value, where, depth)
        if len(term) <= OWN_NODE_BYTES:
            return term
        link = put_node(b'{"term":%s}' % term, self._sink.put_bytes)
        return b'{"node":%s}' % link_bytes(link)

    def _pair(self, key: Any, value: Any, where: Where, depth: int) -> bytes:
        if type(key) not in SCALARS:
            kind = type(key)
            raise CannotKeep(
                f"the key {key!r:.80} of type {kind.__module__}.{kind.__qualname__}",
                hint=key_cure(key),
            )
        inner = (where, key)
        return b"[%s,%s]" % (self._term(key, inner, depth), self._entry(value, inner, depth))

    def _leaf(self, value: Any) -> bytes:
        kind = type(value)
        if kind is File:
            return self._file(value)
        if kind is Directory:
            return self._directory(value)
        if kind is BundleRecord:
            return b'{"bundle":%s}' % _record(value)
        if arrays.is_array(value):
            self._lost.check_array(value)
            return self._array(value)
        if arrays.is_scalar(value):
            if isinstance(value, str):
                self._lost.check_text(str(value))
            return b'{"scalar":"%s"}' % arrays.scalar_base64(value)
        table = tables.table_kind(value)
        if table is not None:
            return self._table(value, table)
        raise CannotKeep(f"it is a {kind.__module__}.{kind.__qualname__}", hint=cure(value))

    def _file(self, value: File) -> bytes:
        unseen = value.unseen()
        path, found = (unseen[0], unseen[0].stat()) if unseen else _present(value)
        if not stat.S_ISREG(found.st_mode):
            raise BadPath(
                f"{str(path)!r:.300} is no regular file", hint="bundlerun.Directory(path)"
            )
        name = text_term(check_file_name(value.name))
        (link,) = self._put_files(path.parent, [(path.name, stamp_of(found))])
        runs = unseen[1] if unseen else files.is_executable(found.st_mode)
        flag = b',"x":true' if runs else b""
        return b'{"file":%s,"name":%s%s}' % (link_bytes(link), name, flag)

    def _directory(self, value: Directory) -> bytes:
        path, found = _present(value)
        if not stat.S_ISDIR(found.st_mode):
            raise BadPath(f"{str(path)!r:.300} is no folder", hint="bundlerun.File(path)")
        name = text_term(check_file_name(value.name))
        inside = files.scan(path)
        entries, size = [], 0
        for start in range(0, len(inside), _FILES_AT_ONCE):
            some = inside[start : start + _FILES_AT_ONCE]
            stamps = [(each.path, each.stamp) for each in some if each.stamp is not None]
            links = iter(self._put_files(path, stamps))
            for each in some:
                link = None if each.stamp is None else next(links)
                size += 0 if link is None else link.size
                linked = None if link is None else link_bytes(link)
                entries.append(files.entry_bytes(text_term(each.path), linked, each.executable))
        body = cut(entries, self._sink.put_bytes)
        return b'{"directory":%s,"name":%s,"size":%d}' % (body, name, size)

    def _put_files(self, folder: Path, files: Sequence[tuple[str, Stamp]]) -> Sequence[Link]:
        try:
            return self._sink.put_files(folder, files)
        except (FileNotFoundError, PermissionError) as error:
            raise BadPath(f"{error.filename!r:.300} cannot be read: {error.strerror}") from error

    def _array(self, value: Any) -> bytes:
        link = self._written(lambda file: arrays.write(value, file), value.nbytes)
        about = canonical_json([value.dtype.str, list(value.shape)])
        return b'{"array":%s,"about":%s}' % (link_bytes(link), about)

    def _table(self, value: Any, kind: str) -> bytes:
        packed = tables.pack(value, kind)

        def check(data: Any) -> None:
            tables.check_written(packed, kind, data)
            self._lost.check_table(packed)

        # Not nbytes: an older pyarrow raises for columns of views.
        size = packed.get_total_buffer_size()
        link = self._written(lambda file: tables.write(packed, file), size, check)
        shape = [*value.shape, 1][:2]
        about = canonical_json(shape)
        return b'{"table":%s,"as":"%s","about":%s}' % (link_bytes(link), kind.encode(), about)

    def _written(
        self,
        write: Callable[[BinaryIO], None],
        size: int,
        check: Callable[[Any], None] = lambda data: None,
    ) -> Link:
        """What ``write`` writes, put once ``check`` let it, a path or bytes, pass."""
        if size <= _IN_MEMORY_BYTES:
            memory = io.BytesIO()
            write(memory)
            data = memory.getvalue()
            check(data)
            return self._sink.put_bytes(data)
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


def _present(value: File | Directory) -> tuple[Path, os.stat_result]:
    """Where a file or folder lies, and what it is. Raises BadPath when it is not there."""
    try:
        path = value.path
        return path, os.stat(path)
    except OSError as error:
        raise BadPath(f"{error.filename!s:.300} is not there: {error.strerror}") from error
    except ValueError as error:
        raise BadPath(f"{value!r:.300}: {error}") from error


def _record(bundle: BundleRecord) -> bytes:
    """A bundle's record. Raises CannotKeep when it would not come back equal."""
    try:
        record = bundle.to_bytes()
        if BundleRecord.from_bytes(record) == bundle:
            return record
    except (TypeError, ValueError, AttributeError, IntegrityError) as error:
        raise CannotKeep(f"a bundle whose record is malformed ({error!s:.200})") from error
    raise CannotKeep("a bundle whose record does not come back equal")


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
