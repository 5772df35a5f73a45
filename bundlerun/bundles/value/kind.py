"""The kinds of value, and their table: rows that answer what all walkers ask.

A term is a value as JSON: what stands for itself there, or an object whose first key, the tag, says
the kind. The rows themselves are put in by ``kinds``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from bundlerun.bundles.link import Link
from bundlerun.bundles.storage import Source, Stamp
from bundlerun.errors import IntegrityError

MAX_DEPTH = 100
"""Containers within containers."""

FLATTER = "a flatter value, or its text: json.dumps(value)"
"""The cure of a value that is nested deeper."""

MAX_VALUES = 1 << 24
"""The most single values in one bundle.

What has more is a table, an array or a file; and a small hostile value cannot unfold to fill the
memory.
"""

PLAIN = (str, int, bool, type(None))
"""The types that stand for themselves in JSON."""

_MALFORMED = (ValueError, TypeError, ArithmeticError)
"""The errors of reading a text of another form, besides IntegrityError."""


class CannotKeep(Exception):
    """The reason why a value cannot be kept.

    The caller, which knows the path in the tree, raises BadValue.
    """

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Encoder(Protocol):
    """The tools of a kind to write a value whose bytes are objects of their own."""

    put_bytes: Callable[[bytes], Link]
    """The function that keeps bytes."""

    check_text: Callable[[str], None]
    """Refuse a text that names a file which does not stay.

    Raises CannotKeep. The next two do the same.
    """

    check_array: Callable[[Any], None]
    check_table: Callable[[Any], None]

    def put_files(self, folder: Path, files: Sequence[tuple[str, Stamp]]) -> Sequence[Link]:
        """Keep files of a folder, in their order.

        Raises BadPath.
        """

    def written(
        self,
        write: Callable[[BinaryIO], None],
        size: int,
        check: Callable[[Any], None] = ...,
    ) -> Link:
        """Keep what ``write`` writes, about ``size`` bytes.

        ``check`` is given the path or the bytes first, and raises to refuse them.
        """


class Decoder(Protocol):
    """The tools of a kind to make a value of its term."""

    source: Source

    def read(self, link: Link) -> bytes:
        """The bytes of an object.

        Raises IntegrityError when they are not as many as ``link`` says.
        """

    def held(self, link: Link) -> Any:
        """The path of an object's file, or a buffer of its bytes.

        Raises IntegrityError.
        """


def _no_links(term: Mapping[str, Any]) -> tuple[Link, ...]:
    return ()


def _value_name(term: Mapping[str, Any]) -> str:
    return "value"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of value that has no parts of other kinds.

    ``tags``: of its terms. ``types``: the exact types of its values, or ``is_of`` for what only a
    library that may not be imported can tell.

    ``write`` and ``read`` are its form in the node of what it is in; they are all that a number or
    a date needs. ``read`` may raise ValueError, TypeError and ArithmeticError for what ``write``
    does not write. ``encode`` and ``decode`` stand for them where bytes lie in objects of their
    own, which ``links`` then names; ``write`` and ``encode`` raise CannotKeep and BadPath.

    ``outline``: the description of a term without reading those objects; where it is None the value
    itself, or the size of the objects. ``name``: the path of a value that is this alone.
    ``root``: the root of a whole value that is named within. ``is_key``: dicts may have it as key.
    ``is_table``: its objects are Arrow files. ``has_files``: below its tag there are entries of
    ``files``, cut as those of a container. ``on_touch``: its objects are brought when they are
    touched, not when the value around them is made.
    """

    tags: tuple[str, ...]
    types: tuple[type, ...] = ()
    is_of: Callable[[Any], bool] | None = None
    write: Callable[[Any], bytes] | None = None
    read: Callable[[dict[str, Any]], Any] | None = None
    encode: Callable[[Any, Encoder], bytes] | None = None
    decode: Callable[[dict[str, Any], Decoder], Any] | None = None
    links: Callable[[Mapping[str, Any]], tuple[Link, ...]] = _no_links
    root: Callable[[dict[str, Any]], Link] | None = None
    outline: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    name: Callable[[Mapping[str, Any]], str] = _value_name
    is_key: bool = False
    is_table: bool = False
    has_files: bool = False
    on_touch: bool = False


@dataclass(frozen=True, kw_only=True)
class Container:
    """A kind of value with parts of any kind: in order, or (``is_mapping``) by key.

    ``makes`` is its exact type, which is made of a list, or of a dict. ``check`` raises CannotKeep
    for what would be lost. ``absent``: what a view gives for a key that is not there; None:
    KeyError.
    """

    tag: str
    makes: type
    is_mapping: bool = False
    check: Callable[[Any], None] | None = None
    absent: Callable[[], Any] | None = None


BY_TYPE: dict[type, Kind] = {}
"""The kinds that are known by an exact type."""

BY_TAG: dict[str, Kind] = {}
"""The kinds by the tags of their terms."""

CONTAINERS: dict[str, Container] = {}
"""The containers by tag."""

CONTAINER_TYPES: dict[type, Container] = {}
"""The containers by type."""

HAVE_ENTRIES: set[str] = set()
"""The tags of containers, and of kinds with files: all that is cut into nodes."""

_OF_LIBRARIES: list[Kind] = []


def add(rows: Iterable[Kind | Container]) -> None:
    """Put kinds into the table.

    Raises ValueError where a tag or a type is another's.
    """
    for row in rows:
        tags = (row.tag,) if isinstance(row, Container) else row.tags
        types = (row.makes,) if isinstance(row, Container) else row.types
        known = {*BY_TAG, *CONTAINERS, *BY_TYPE, *CONTAINER_TYPES, "node"}
        taken = [each for each in (*tags, *types) if each in known]
        if taken:
            raise ValueError(f"another kind of value has {taken[0]!r}")
        if isinstance(row, Container):
            CONTAINERS[row.tag] = CONTAINER_TYPES[row.makes] = row
            HAVE_ENTRIES.add(row.tag)
            continue
        BY_TAG.update(dict.fromkeys(tags, row))
        BY_TYPE.update(dict.fromkeys(types, row))
        if row.is_of is not None:
            _OF_LIBRARIES.append(row)
        if row.has_files:
            HAVE_ENTRIES.update(tags)


def kind_of(value: object) -> Kind | None:
    """The kind of a value other than a container; None for one that cannot be kept."""
    found = BY_TYPE.get(type(value))
    if found is None:
        for row in _OF_LIBRARIES:
            if row.is_of is not None and row.is_of(value):
                return row
    return found


def malformed(term: Any) -> IntegrityError:
    """The error for a term that nobody wrote here."""
    return IntegrityError(f"a part of a value is malformed: {term!r:.120}")


def tag_of(term: Any) -> str:
    """The tag of a term: its first key.

    Raises IntegrityError for anything but an object with a key.
    """
    if type(term) is not dict or not term:
        raise malformed(term)
    tag: str = next(iter(term))
    return tag


def kind_in(tag: str, term: Any) -> Kind:
    """The kind of a term of that tag, of no container.

    Raises IntegrityError.
    """
    found = BY_TAG.get(tag)
    if found is None:
        raise malformed(term)
    return found


def inline_value(term: Any) -> Any:
    """The value of a term that has all of it.

    Raises IntegrityError for all else, SettingsError for what this machine does not know: a time
    zone, a library.
    """
    if type(term) in PLAIN:
        return term
    return read_inline(kind_in(tag_of(term), term), term)


def read_inline(kind: Kind, term: dict[str, Any]) -> Any:
    """``inline_value`` of a term whose kind is known."""
    if kind.read is None:
        raise malformed(term)
    try:
        return kind.read(term)
    except _MALFORMED as error:
        raise malformed(term) from error


def entry_pair(entry: Any) -> tuple[Any, Any]:
    """The terms of the key and the value in an entry of a mapping.

    Raises IntegrityError.
    """
    if type(entry) is not list or len(entry) != 2:
        raise IntegrityError(f"an entry of a dict is malformed: {entry!r:.120}")
    return entry[0], entry[1]
