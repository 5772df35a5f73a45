"""Comparison of two bundles and their ancestries, wherever nodes and records lie."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bundlerun.bundles.lineage import LineageTree, Parent
from bundlerun.bundles.value.diff import differences
from bundlerun.bundles.value.differences import Differences
from bundlerun.errors import (
    BundleNotFound,
    BundlerunError,
    IntegrityError,
    NoRemote,
    NotDeterministic,
    RemoteError,
    SettingsError,
)
from bundlerun.pipelines.why import Changed, Reason, Why, explain, in_short, key_of, nearest
from bundlerun.progress import is_heard
from bundlerun.runs.verify import where_two_makings_part

if TYPE_CHECKING:
    from bundlerun.api.scope import Scope
    from bundlerun.bundles.lineage import Parent
    from bundlerun.bundles.link import Link
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.bundles.value.diff import Columns
    from bundlerun.store.contexts import Context
    from bundlerun.store.rows import Entry

FETCHED_TABLE_BYTES = 16 << 20
"""A larger table that is not on this disk is not fetched to tell its columns."""

MOST_EARLIER = 2_000
"""Versions that are looked at for the nearest one."""


class Comparing:
    """Comparisons of bundles of one workspace's context."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._ancestry = Ancestry(scope, scope.context())

    def differences(self, old: BundleRecord, new: BundleRecord) -> Differences:
        """The differences between the values of two bundles.

        Of what is not here, only nodes and small tables are fetched. Raises BundleNotFound,
        IntegrityError, RemoteErrors.
        """
        return differences(
            old.root,
            new.root,
            lambda link: self._read(link, old, new),
            schema=lambda link: self._columns(link, old, new),
        )

    def why(self, entry: Entry) -> Why:
        """The reason why the bundle was made, with the differences of its inputs' values."""
        why = self.why_in_short(entry.bundle, entry)
        return dataclasses.replace(why, reasons=tuple(map(self._looked_into, why.reasons)))

    def why_in_short(self, bundle: BundleRecord, entry: Entry | None = None) -> Why:
        """The reasons why ``bundle`` was made, without a look into its inputs' values.

        A bundle that is going to be made has no ``entry`` yet.
        """
        return explain(bundle, self._nearest(bundle, entry))

    def verify(self, first: BundleRecord, second: BundleRecord) -> None:
        """Check that two makings of one bundle have equal values.

        Raises NotDeterministic, which names the pipes whose outputs differ although what went in
        is equal, with the differences as its evidence.
        """
        parted = where_two_makings_part(first, second, self._ancestry.find)
        if not parted:
            return
        names, evidence = [], []
        for old, new in parted:
            was, now = (self._made(parent, first, second) for parent in (old, new))
            pipe = now.lineage.pipe if now is not None else None
            names.append(pipe or new.name)
            label = f"{old.name}@{old.id} -> {new.name}@{new.id}"
            evidence.append(label if was is None or now is None else self._told(label, was, now))
        verb = "is" if len(names) == 1 else "are"
        raise NotDeterministic(
            f"{', '.join(names)} {verb} not deterministic: equal inputs made different values",
            hint=f"bundlerun diff {parted[0][0].name}@{parted[0][0].id[:18]}"
            f" {parted[0][1].name}@{parted[0][1].id[:18]}",
            evidence="\n".join(evidence),
        )

    def _made(self, at: Parent, *known: BundleRecord) -> BundleRecord | None:
        return next((b for b in known if b.id == at.id), None) or self._ancestry.find(at)

    def _told(self, label: str, old: BundleRecord, new: BundleRecord) -> str:
        try:
            return f"{label}: {self.differences(old, new).summary()}"
        except BundlerunError as error:
            return f"{label}: the values cannot be compared: {error}"

    def _nearest(self, bundle: BundleRecord, entry: Entry | None) -> BundleRecord | None:
        if key_of(bundle) is None:
            return None
        found = nearest(bundle, self._earlier(entry, bundle.name))
        if found is not None:
            return found
        pipe = bundle.lineage.pipe
        others = (each for each in self._earlier(entry, None) if each.lineage.pipe == pipe)
        return nearest(bundle, others)

    def _earlier(self, entry: Entry | None, name: str | None) -> list[BundleRecord]:
        search, context = self._scope.store.catalog.search, self._scope.context()
        found = search(context, name=name, limit=MOST_EARLIER)
        if entry is None:
            return [each.bundle for each in found]
        if all(each.seq != entry.seq for each in found):
            found = search(context, name=name)
        if name is None:
            older = [each for each in found if each.seq < entry.seq]
        else:
            at = next((at for at, each in enumerate(found) if each.seq == entry.seq), 0)
            older = found[at + 1 :]
        return [each.bundle for each in older]

    def _looked_into(self, reason: Reason) -> Reason:
        return dataclasses.replace(reason, changes=tuple(map(self._valued, reason.changes)))

    def _valued(self, change: Changed) -> Changed:
        old, new = (self._found(parent) for parent in change.parents)
        if old is None or new is None:
            return change
        try:
            return dataclasses.replace(change, value=self.differences(old, new))
        except BundlerunError:
            # The reason stands without it: a value may be gone, or its remote not answer.
            return change

    def _found(self, parent: Parent | None) -> BundleRecord | None:
        return None if parent is None else self._ancestry.find(parent)

    def _read(self, link: Link, *bundles: BundleRecord) -> bytes:
        found = self._scope.store.objects.find(link)
        if found is None:
            self._bring(link, *bundles)
            found = self._scope.store.objects.read(link)
        return found

    def _bring(self, link: Link, *bundles: BundleRecord) -> None:
        """Bring an object that belongs to one of the bundles or to all."""
        failure: BundlerunError | None = None
        for bundle in bundles:
            try:
                self._scope.fetch_of(bundle)([link])
                return
            except NoRemote as error:
                failure = BundleNotFound(
                    f"{bundle.name}@{bundle.id} is not on this disk, and {error.message}",
                    hint=error.hint,
                )
            except (BundleNotFound, IntegrityError) as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _columns(self, link: Link, *bundles: BundleRecord) -> Columns | None:
        from bundlerun.bundles.value import tables

        objects = self._scope.store.objects
        if not objects.has(link.digest):
            if link.size > FETCHED_TABLE_BYTES:
                return None
            self._bring(link, *bundles)
        return tables.columns(objects.held(link))


def tell_what_differs(scope: Scope, bundle: BundleRecord, entry: Entry | None = None) -> None:
    """Say on one line of the progress why ``bundle`` was not found.

    Nothing where nothing differs.
    """
    if not is_heard(scope.progress):
        return
    line = in_short(Comparing(scope).why_in_short(bundle, entry))
    if line is not None:
        scope.progress.line(line)


MOST_GENERATIONS = 200
"""How far ``lineage`` climbs."""


class Ancestry:
    """One climb through the ancestors of a bundle of ``context``, each looked up once.

    What a container or another machine made is on the remote: one read of its record there. A
    remote that does not answer is asked no more, and what is here is shown all the same.
    """

    def __init__(self, scope: Scope, context: Context) -> None:
        self._scope = scope
        self._context = context
        self._asks = context.remote_url is not None
        self._seen: dict[str, LineageTree] = {}

    def tree(self, at: Parent, generations: int = MOST_GENERATIONS) -> LineageTree:
        """The bundle that ``at`` mentions, and its ancestors."""
        if at.id not in self._seen:
            self._seen[at.id] = self._made(at, generations)
        return dataclasses.replace(self._seen[at.id], role=at.role)

    def _made(self, at: Parent, generations: int) -> LineageTree:
        bundle = self.find(at)
        if bundle is None:
            return LineageTree(at.role, at.name, at.id, at.root, known=False)
        parents = bundle.lineage.parents if generations else ()
        return LineageTree(
            at.role,
            bundle.name,
            bundle.id,
            bundle.root.digest,
            known=True,
            lineage=bundle.lineage,
            params=bundle.params,
            tags=bundle.tags,
            parents=tuple(self.tree(parent, generations - 1) for parent in parents),
        )

    def find(self, at: Parent) -> BundleRecord | None:
        """The bundle that ``at`` mentions; None where only its mention is left."""
        entry = self._scope.store.catalog.by_id(self._context, at.id)
        if entry is not None:
            return entry.bundle
        if not self._asks:
            return None
        try:
            return self._read(at)
        except IntegrityError:
            return None
        except (RemoteError, SettingsError):
            self._asks = False
            return None

    def _read(self, at: Parent) -> BundleRecord | None:
        from bundlerun.remotes.keys import bundle_key
        from bundlerun.remotes.records import PushedBundle, read_record

        data = read_record(self._scope.remote(self._context), bundle_key(at.id))
        if data is None:
            return None
        found = PushedBundle.from_bytes(data, at.id).bundle
        return found if found.root.digest == at.root else None
