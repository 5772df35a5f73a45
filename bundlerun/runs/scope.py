"""The scope of runs, and the changes of their records."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.remotes.binding import Binding, bound, bound_url
from bundlerun.runs.record import RunRecord
from bundlerun.store.locks import held

if TYPE_CHECKING:
    from bundlerun.connections import Connections
    from bundlerun.progress import Progress
    from bundlerun.remotes.base import Remote
    from bundlerun.settings import Settings
    from bundlerun.store.contexts import Context
    from bundlerun.store.store import Store


@dataclass
class RunScope:
    """The scope of a run: one context of one store, the remotes, and the connections.

    ``open`` gives the remote at a URL. ``context`` is bound to the remote of the settings once one
    is needed and it has none.
    """

    store: Store
    context: Context
    open: Callable[[str], Remote]
    connections: Connections

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.connections.settings

    @property
    def progress(self) -> Progress:
        """The listener to what goes on."""
        return self.connections.progress

    @property
    def remote(self) -> Remote:
        """The remote of the context, which gets that of the settings where it has none.

        Raises NoRemote when there is neither.
        """
        return self.open(bound_url(self.bound()))

    @property
    def binding(self) -> Binding:
        """The context as it is bound to its remote, or is now to that of the settings.

        Raises NoRemote when there is neither.
        """
        context = self.bound()
        return Binding.of(self.store, context, self.remote)

    def bound(self) -> Context:
        """The context at a use that needs its remote; see ``remotes.binding.bound``."""
        bucket = self.settings.run.bucket
        self.context = bound(self.store, self.context, bucket, self.open, self.progress)
        return self.context

    def remote_of(self, record: RunRecord) -> Remote:
        """The remote that the run works on, whatever the context is bound to by now.

        Where the context is bound to the same one, it is opened at the address of now.
        """
        url = self.context.remote_url
        same = record.remote_uuid is not None and self.context.remote_uuid == record.remote_uuid
        return self.open(url if same and url is not None else record.remote_url)

    def staging(self, run_id: str) -> Path:
        """The folder written by the container of a run on a ``file://`` remote."""
        return self.store.path / "staging" / run_id


def change(
    record: RunRecord, update: Callable[[RunRecord], RunRecord], scope: RunScope
) -> RunRecord:
    """The record that ``update`` makes of ``record``, written to the journal.

    Where another process changed it meanwhile, ``update`` is asked again, of what that one wrote:
    nobody's change is lost. Raises RunNotFound when the run is gone.
    """
    journal = scope.store.journal
    while True:
        changed = update(record)
        if changed == record:
            return record
        revision = journal.replace(scope.context, changed.to_row(), record.revision)
        if revision is not None:
            return changed.changed(revision=revision)
        record = read_again(record, scope)


def read_again(record: RunRecord, scope: RunScope) -> RunRecord:
    """``record`` as the journal has it now.

    Raises RunNotFound, IntegrityError.
    """
    row = scope.store.journal.get(scope.context, record.run_id)
    return RunRecord.from_json(row.run, row.revision)


def holding(run_id: str, scope: RunScope, *, wait: bool) -> AbstractContextManager[bool]:
    """A run's lock, held while the run is submitted or settled; see ``locks.held``."""
    return held(scope.store.path / "locks" / run_id, wait=wait)
