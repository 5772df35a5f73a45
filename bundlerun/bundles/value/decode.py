"""Nodes and leaves back into a value, none of it believed before it is checked."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.paths import check_file_name
from bundlerun.bundles.record import BundleRecord, check_format
from bundlerun.bundles.value import arrays, files, tables
from bundlerun.bundles.value.files import Directory, File
from bundlerun.bundles.value.nodes import entries_of, only, read_node
from bundlerun.bundles.value.scalars import (
    CONTAINERS,
    MAPPINGS,
    MAX_DEPTH,
    MAX_VALUES,
    PLAIN,
    SEQUENCES,
    is_scalar,
    scalar,
    tag_of,
    text_of,
)
from bundlerun.bundles.value.storage import DirectoryEntry, Source
from bundlerun.errors import BadPath, IntegrityError


def decode_value(root: Link, source: Source) -> object:
    """The value whose root this is, equal to the one that was frozen.

    Files and directories come to this disk when their ``path`` is first asked for. Raises
    IntegrityError for bytes or nodes that are not what they should be, SettingsError when a library
    that the value needs is not installed.
    """
    term = root_term(read_node(root, source.read))
    source.ahead(term)
    return Thawing(source).value(term, 0)


def root_term(found: Any) -> Any:
    """The term in a parsed root. Raises IntegrityError, also for an unknown format."""
    check_format(found)
    return only(found, "format", "value")["value"]


def node_term(found: Any) -> Any:
    """The term in a parsed node of one term, which is not just another such node.

    Raises IntegrityError.
    """
    term = only(found, "term")["term"]
    if type(term) is dict and "node" in term:
        raise IntegrityError("a node holds nothing but another node")
    return term


def is_long(tag: str, term: dict[str, Any]) -> bool:
    """Whether a text or bytes lie in an object of their own."""
    return tag == "str" or (tag == "bytes" and type(term[tag]) is list)


def directory_root(body: Any) -> Link:
    """What names the content of a Directory, whatever its own name: the digest of its entries.

    Raises IntegrityError.
    """
    try:
        data = canonical_json(body)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"a directory is malformed: {error!s:.120}") from error
    return Link(digest_of(data), len(data))


def file_name(found: Any) -> str:
    """A name that passes the check. Raises IntegrityError."""
    if type(found) is not str:
        raise IntegrityError(f"{found!r:.80} is no file name")
    try:
        return check_file_name(found)
    except BadPath as error:
        raise IntegrityError(error.message) from error


def size_of(found: Any) -> int:
    """A number of bytes. Raises IntegrityError."""
    if type(found) is not int or found < 0:
        raise IntegrityError(f"{found!r:.80} is no size")
    return found


class Thawing:
    """Makes values of terms, and counts their parts."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parts = 0

    def value(self, term: Any, depth: int) -> Any:
        """The value of a term that stands in ``depth`` containers."""
        self._parts += 1
        if self._parts > MAX_VALUES:
            raise IntegrityError(f"a value has more than {MAX_VALUES} parts")
        if type(term) in PLAIN:
            return term
        tag = tag_of(term)
        if is_long(tag, term):
            return self._long(tag, term)
        if is_scalar(tag):
            return scalar(term)
        if depth > MAX_DEPTH:
            raise IntegrityError(f"a value is nested deeper than {MAX_DEPTH}")
        if tag == "node":
            link = Link.from_json(only(term, "node")["node"])
            return self.value(node_term(read_node(link, self._source.read)), depth)
        if tag in CONTAINERS:
            return self._container(tag, term, depth)
        return self._leaf(tag, term)

    def _long(self, tag: str, term: dict[str, Any]) -> str | bytes:
        data = self._read(Link.from_json(only(term, tag)[tag]))
        return text_of(data) if tag == "str" else data

    def _read(self, link: Link) -> bytes:
        data = self._source.read(link)
        if len(data) != link.size:
            raise IntegrityError(f"{link.digest} has {len(data)} bytes, not {link.size}")
        return data

    def _container(self, tag: str, term: dict[str, Any], depth: int) -> Any:
        body = only(term, tag)[tag]
        entries = entries_of(body, self._source.read) if type(body) in (list, dict) else None
        if entries is None:
            raise IntegrityError(f"a part of a value is malformed: {term!r:.120}")
        if tag in MAPPINGS:
            return MAPPINGS[tag](self._dict(entries, depth))
        found = [self.value(each, depth + 1) for each in entries]
        return found if tag == "list" else SEQUENCES[tag](found)

    def _dict(self, entries: Iterator[Any], depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for each in entries:
            if type(each) is not list or len(each) != 2:
                raise IntegrityError(f"an entry of a dict is malformed: {each!r:.120}")
            key = self.key(each[0])
            if key in found:
                raise IntegrityError(f"a dict has the key {each[0]!r:.80} twice")
            found[key] = self.value(each[1], depth + 1)
        return found

    def key(self, term: Any) -> Any:
        """The key of a dict that a term stands for."""
        if type(term) in PLAIN:
            return term
        tag = tag_of(term)
        found = self._long(tag, term) if is_long(tag, term) else scalar(term)
        if type(found) is Decimal and found.is_snan():
            raise IntegrityError(f"{found} cannot be the key of a dict")
        return found

    def _leaf(self, tag: str, term: dict[str, Any]) -> Any:
        if tag == "file":
            return self._file(term)
        if tag == "directory":
            return self._directory(term)
        if tag == "scalar":
            return arrays.scalar_of(only(term, tag)[tag])
        if tag == "bundle":
            return BundleRecord.from_json(only(term, tag)[tag])
        if tag == "array":
            return arrays.read(self._bytes(Link.from_json(only(term, tag, "about")[tag])))
        if tag == "table":
            kind = only(term, tag, "as", "about")["as"]
            if kind not in tables.TABLE_KINDS:
                raise IntegrityError(f"a table of the unknown kind {kind!r:.80}")
            return tables.unpack(tables.read(self._bytes(Link.from_json(term[tag]))), kind)
        raise IntegrityError(f"a part of a value is malformed: {term!r:.120}")

    def _bytes(self, link: Link) -> Any:
        """The path of a leaf's file, or a buffer of its bytes."""
        found = self._source.map(link)
        if found is None:
            return self._read(link)
        size = found.stat().st_size if isinstance(found, Path) else memoryview(found).nbytes
        if size != link.size:
            raise IntegrityError(f"{link.digest} has {size} bytes, not {link.size}")
        return found

    def _file(self, term: dict[str, Any]) -> File:
        only(term, "file", "name", optional=frozenset({"x"}))
        link, name = Link.from_json(term["file"]), file_name(term["name"])
        executable = term.get("x", False)
        if type(executable) is not bool:
            raise IntegrityError(f"a file is malformed: {term!r:.120}")
        source = self._source

        def held() -> Path | bytes:
            found = source.map(link)
            return found if isinstance(found, Path) else source.read(link)

        fetch = lambda: source.file(link, name, executable)  # noqa: E731
        return File(name=name, link=link, fetch=fetch, held=held, executable=executable)

    def _directory(self, term: dict[str, Any]) -> Directory:
        body = only(term, "directory", "name", "size")["directory"]
        name, size, root = file_name(term["name"]), size_of(term["size"]), directory_root(body)
        source = self._source

        def entries() -> list[DirectoryEntry]:
            # A list: no path is given away before the last one is checked.
            return list(files.checked(entries_of(body, source.read), size))

        return Directory(name=name, fetch=lambda: source.directory(root, name, entries))
