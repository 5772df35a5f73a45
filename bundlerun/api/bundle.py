"""A bundle as the API returns it: its record, and the workspace to read its value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from bundlerun import html
from bundlerun.bundles.record import BundleRecord
from bundlerun.errors import BundlerunError
from bundlerun.formatting import ID_SHOWN, outline_lines, pairs, standing, when

if TYPE_CHECKING:
    from bundlerun.api.scope import Scope
    from bundlerun.store.reader import Fetch
    from bundlerun.store.rows import Entry


@dataclass(frozen=True, eq=False, repr=False)
class Bundle(BundleRecord):
    """A bundle as a verb returns it: its record, with ``value`` and its parts.

    These are read when they are asked for and not before; bytes that are not on this disk come from
    the remote. ``bundle["x"]`` reads that part alone. Tags, ``committed`` and ``version``, the
    number on the remote (None where it has none), are those of the moment when it was handed out.
    Two are equal whose records are. Pickled, it is its bare record.
    """

    context: str = field(default="", kw_only=True)
    committed: bool = field(default=False, kw_only=True)
    version: int | None = field(default=None, kw_only=True)
    pushed: bool = field(default=False, kw_only=True)
    scope: Scope = field(kw_only=True)

    @staticmethod
    def of(entry: Entry, scope: Scope) -> Bundle:
        """The bundle of a row of the catalog."""
        return Bundle(
            **_facts(entry.bundle),
            context=entry.context,
            committed=entry.committed,
            version=entry.version,
            pushed=entry.pushed,
            scope=scope,
        )

    @property
    def record(self) -> BundleRecord:
        """The bare record."""
        return BundleRecord(**_facts(self))

    @property
    def value(self) -> Any:
        """The value, equal to what went in; read each time, so keep what you change.

        Raises BundleNotFound for a bundle that was removed since, or that a pipe which asks does
        not see; IntegrityError, RemoteErrors.
        """
        return self.scope.store.value(*self._here())

    @property
    def view(self) -> Any:
        """The value as a read-only View, each part read when it is touched.

        Raises as ``value``, later as parts are touched.
        """
        return self.scope.store.view(*self._here())

    def __getitem__(self, key: Any) -> Any:
        """``bundle.value[key]``; of a dict, list or tuple that part alone is read."""
        from bundlerun.bundles.value import View

        view = self.view
        if not isinstance(view, Mapping | Sequence):
            return self.value[key]
        part = view[key]
        return part.value if isinstance(part, View) else part

    def __iter__(self) -> Iterator[Any]:
        """The iterator of the value: the keys of a dict, the entries of a list."""
        view = self.view
        return iter(view if isinstance(view, Mapping) else self.value)

    def __bool__(self) -> bool:
        """A bundle is there, whatever its value is."""
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BundleRecord):
            return NotImplemented
        return _facts(self) == _facts(other)

    def __hash__(self) -> int:
        return hash(self.id)

    def __deepcopy__(self, memo: object) -> Bundle:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return BundleRecord, tuple(_facts(self).values())

    def __repr__(self) -> str:
        return f"<Bundle {self.name}@{self.id[:ID_SHOWN]}, {self.state}>"

    @property
    def state(self) -> str:
        """``scratch``, ``committed``, or ``pushed as N``."""
        return standing(self.committed, self.version)

    def _repr_html_(self) -> str:
        """The HTML for notebooks: the record, and the value's outline.

        The outline goes as far as it is on this disk.
        """
        rows: list[tuple[str, html.Content]] = [
            ("state", self.state),
            ("made", when(self.made_at_s)),
        ]
        rows += [("pipe", self.lineage.pipe)] if self.lineage.pipe else []
        rows += [("params", pairs(self.params))] if self.params else []
        rows += [("tags", pairs(self.tags))] if self.tags else []
        rows.append(("value", self._outline_html()))
        name = html.element("b", f"{self.name}@{self.id[:ID_SHOWN]}")
        return str(html.joined([name, html.facts(rows)]))

    def _here(self) -> tuple[BundleRecord, Fetch]:
        context = self.scope.context(self.context)
        # Asked again: it may be gone, and a pipe sees but what stands in its key.
        record = self.scope.store.catalog.get(context, self.name, id_prefix=self.id).bundle
        return record, self.scope.fetch_of(record, context)

    def _outline_html(self) -> html.Content:
        try:
            record, _ = self._here()
            lines = outline_lines(self.scope.store.outline(record))
        except BundlerunError as error:
            # A look at a bundle does not ask for bytes from a remote.
            return f"({error.message})"
        return html.element("pre", "\n".join(lines))


def _facts(record: BundleRecord) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(BundleRecord)}
