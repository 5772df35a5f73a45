"""A value read where it is touched: containers as views, leaves on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from bundlerun.bundles.link import Link
from bundlerun.bundles.storage import Source
from bundlerun.bundles.value.decode import Thawing
from bundlerun.bundles.value.kind import CONTAINERS, PLAIN, entry_pair, tag_of
from bundlerun.bundles.value.nodes import (
    check_level,
    children,
    count_of,
    entries_of,
    node_term,
    only,
    read_node,
    root_term,
)
from bundlerun.errors import IntegrityError


def view(root: Link, source: Source) -> View:
    """The value ``root`` as a view; its root node alone is read.

    Raises as ``thaw``.
    """
    return _viewed(root_term(read_node(root, source.read)), source, 0)


class View:
    """A value, or a part of it, that cannot be changed.

    ``value`` makes it whole.
    """

    def __init__(self, term: Any, source: Source, depth: int) -> None:
        self._term = term
        self._source = source
        self._depth = depth

    @property
    def value(self) -> Any:
        """The whole value of this part, decoded each time and equal to what went in.

        Raises as ``thaw``.
        """
        self._source.ahead(self._term)
        return Thawing(self._source).value(self._term, self._depth)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of one value>"


class _Container(View):
    """A container whose entries are read when the first is touched.

    All nodes of one level are read at once; the part of an entry is made at its own first touch and
    stays the same object.
    """

    def __init__(self, tag: str, term: Any, source: Source, depth: int) -> None:
        super().__init__(term, source, depth)
        self._tag = tag
        self._body = only(term, tag)[tag]
        self._count = count_of(self._body)
        self._made: dict[int, Any] = {}
        self._read: list[Any] | None = None

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of a {self._tag} of {self._count}>"

    def _entries(self) -> list[Any]:
        if self._read is None:
            if type(self._body) is not list:
                self._bring_nodes()
            self._read = list(entries_of(self._body, self._source.read))
        return self._read

    def _bring_nodes(self) -> None:
        level, below = children(self._body)
        while True:
            self._source.bring([link for link, _ in below])
            level -= 1
            if level == 0:
                return
            found = [check_level(read_node(link, self._source.read), level) for link, _ in below]
            below = [each for node in found for each in children(node)[1]]

    def _part(self, at: int, term: Any) -> Any:
        if at not in self._made:
            made = _viewed(term, self._source, self._depth + 1)
            self._made[at] = made if isinstance(made, _Container) else made.value
        return self._made[at]


class SequenceView(_Container, Sequence[Any]):
    """A list or a tuple, read where it is touched.

    Nested containers are views.
    """

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._count))]
        at = range(self._count)[index]
        return self._part(at, self._entries()[at])


class MappingView(_Container, Mapping[Any, Any]):
    """A dict, read where it is touched.

    Nested containers are views.
    """

    def __init__(self, tag: str, term: Any, source: Source, depth: int) -> None:
        super().__init__(tag, term, source, depth)
        self._keys: dict[Any, int] | None = None

    def __getitem__(self, key: Any) -> Any:
        at = self._places()[key]
        return self._part(at, self._entries()[at][1])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._places())

    def __contains__(self, key: object) -> bool:
        return key in self._places()

    def _places(self) -> dict[Any, int]:
        if self._keys is None:
            key_of = Thawing(self._source).key
            keys: dict[Any, int] = {}
            for at, entry in enumerate(self._entries()):
                key, _ = entry_pair(entry)
                if keys.setdefault(key_of(key), at) != at:
                    raise IntegrityError(f"a dict has the key {key!r:.80} twice")
            self._keys = keys
        return self._keys


class CounterView(MappingView):
    """A Counter, read where it is touched: what is not in it has the count 0."""

    def __init__(
        self, tag: str, term: Any, source: Source, depth: int, absent: Callable[[], Any]
    ) -> None:
        super().__init__(tag, term, source, depth)
        self._absent = absent

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if key in self else self._absent()

    def get(self, key: Any, default: Any = None) -> Any:
        """The count of ``key``, or ``default``, as of a dict."""
        return super().__getitem__(key) if key in self else default


def _viewed(term: Any, source: Source, depth: int) -> View:
    tag = "" if type(term) in PLAIN else tag_of(term)
    if tag == "node":
        term = node_term(read_node(Link.from_json(only(term, tag)[tag]), source.read))
        tag = "" if type(term) in PLAIN else tag_of(term)
    row = CONTAINERS.get(tag)
    if row is None:
        return View(term, source, depth)
    if not row.is_mapping:
        return SequenceView(tag, term, source, depth)
    if row.absent is None:
        return MappingView(tag, term, source, depth)
    return CounterView(tag, term, source, depth, row.absent)
