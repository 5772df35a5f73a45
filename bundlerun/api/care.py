"""The verbs of care: is everything whole, what differs, and why was it made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundlerun.api.data import Data
from bundlerun.store.reports import GRACE_S

if TYPE_CHECKING:
    from bundlerun.bundles.record import Bundle
    from bundlerun.bundles.value.diff import Differences
    from bundlerun.pipelines.why import Why
    from bundlerun.store.reports import GcReport, Proof


class Care(Data):
    """Verbs that look after what is there."""

    def fsck(self, *, remote: bool = False, repair: bool = False) -> Proof:
        """Prove this store whole, or with ``remote`` the context's remote: every object, record
        and pack is read and hashed. ``repair`` mends what can be mended, the store from other
        copies on this disk and from the remotes of its contexts, a remote from this store; what is
        damaged here goes to ``quarantine/``, never away.

        Raises NoRemote, RemoteChanged, RemoteErrors, StoreBusy; damage is what it returns.
        """
        if remote:
            from bundlerun.remotes.fsck import prove
            from bundlerun.remotes.identity import bound_uuid

            context = self.context()
            return prove(
                self.remote(context),
                bound_uuid(context),
                self.store,
                repair=repair,
                progress=self.progress,
            )
        from bundlerun.remotes.fsck.copies import RemoteCopies
        from bundlerun.store.fsck import fsck

        copies = RemoteCopies(self.remote)
        try:
            return fsck(self.store, repair=repair, remotes=copies, progress=self.progress)
        finally:
            copies.close()

    def gc(
        self, *, remote: bool = False, delete: bool = False, grace_s: float = GRACE_S
    ) -> GcReport:
        """Find what no bundle of any context of this store uses, or with ``remote`` what no version
        on the context's remote uses, and is older than ``grace_s`` seconds; ``delete`` deletes it.

        A remote takes two calls: the first condemns packs, one that comes ``wait_s`` seconds later
        deletes them, so that a push at the same moment loses nothing. Raises IntegrityError for
        damage that hides what is used (then nothing is deleted), StoreBusy, NoRemote, RemoteErrors.
        """
        if not remote:
            from bundlerun.store.gc.sweep import sweep

            with self.store.freeing():
                return sweep(self.store, grace_s=grace_s, delete=delete, progress=self.progress)
        from bundlerun.remotes.gc.sweep import collect
        from bundlerun.remotes.identity import bound_uuid

        context = self.context()
        return collect(
            self.remote(context),
            bound_uuid(context),
            grace_s=grace_s,
            delete=delete,
            progress=self.progress,
        )

    def diff(self, old: str | Bundle, new: str | Bundle) -> Differences:
        """What differs from the value of the bundle ``old`` to that of ``new``, both names or
        ``name@id-prefix``. Of what is not on this disk only nodes are fetched, and tables of up to
        16 MiB to tell their columns.

        Raises BundleNotFound, IntegrityError, RemoteErrors.
        """
        from bundlerun.api.compare import Comparing

        return Comparing(self).differences(self.entry(old).bundle, self.entry(new).bundle)

    def verify(self, first: str | Bundle, second: str | Bundle) -> None:
        """Check that two bundles that the same work made have equal values.

        Raises NotDeterministic, which names the pipes whose outputs differ although what went into
        them is equal; BundleNotFound.
        """
        from bundlerun.api.compare import Comparing

        Comparing(self).verify(self.entry(first).bundle, self.entry(second).bundle)

    def why(self, name: str | Bundle) -> Why:
        """Why the bundle ``name`` was made and not found: which parts of its reuse key differ from
        those of the nearest earlier version (of its name, else of its pipe), and in what.

        Raises BundleNotFound.
        """
        from bundlerun.api.compare import Comparing

        return Comparing(self).why(self.entry(name))
