"""Bundles that runs take and make: sent to a remote, brought home, or adopted.

Adopted are those of equal work.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.errors import BundleNotFound, Conflict, PushIncomplete
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.identity import check_remote
from bundlerun.remotes.keys import bundle_key
from bundlerun.remotes.pull import pull_id
from bundlerun.remotes.push import push
from bundlerun.remotes.records import PushedBundle, read_record

if TYPE_CHECKING:
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.scope import RunScope
    from bundlerun.store.catalog import Entry


def adopt_equal_work(plan: RunPlan, scope: RunScope) -> BundleRecord:
    """The output of ``plan`` from the equal work that it found.

    It is a new version of the output's name over the same value, pushed, unless that is the latest
    already. Raises Conflict where the plan found none.
    """
    if plan.found is None:
        raise Conflict(
            f"no equal work was found for {plan.task.subject}",
            hint="the same without reuse: --force",
        )
    store, context, promised = scope.store, scope.context, plan.task.promised()
    found = store.catalog.by_id(context, plan.found)
    if found is None:
        found = pull_id(scope.binding, plan.found)
    latest = store.catalog.find(context, promised.name, committed_only=True)
    if latest is not None and _is_the_same(latest.bundle, found.bundle, plan):
        entry = latest
    else:
        entry = store.add_root(
            context,
            dataclasses.replace(
                found.bundle,
                id=new_id(),
                name=promised.name,
                tags=promised.tags,
                params=dict(promised.params),
            ),
            commit=True,
        )
    send(entry, scope)
    return entry.bundle


def send(entry: Entry, scope: RunScope) -> None:
    """Push a bundle that a run needs.

    Ancestors of which bytes lie elsewhere stay where they are, which is said: its lineage names
    them all the same. Raises PushIncomplete where the bundle itself could not go, and as ``push``.
    """
    try:
        push(scope.binding, [entry], progress=scope.progress)
    except PushIncomplete as error:
        sent = scope.store.catalog.by_id(scope.context, entry.bundle.id)
        if sent is None or not sent.pushed:
            raise
        scope.progress.line(f"{entry.bundle.name} was sent; {error.message}")


def bring_output(record: RunRecord, scope: RunScope) -> BundleRecord:
    """The promised output, from the run's own remote.

    Where the context is bound to another one by now, its bytes are brought too, and it is a bundle
    that this other one does not have yet. Raises BundleNotFound when the run's remote has no such
    bundle, RemoteChanged, IntegrityError.
    """
    store, context, id = scope.store, scope.context, record.output_id
    remote = scope.remote_of(record)
    if record.remote_uuid in (None, context.remote_uuid):
        # The context may be unbound by now, or the remote have another address.
        bound = dataclasses.replace(context, remote_url=remote.url)
        return pull_id(Binding.of(store, bound, remote), id).bundle
    here = store.catalog.by_id(context, id)
    if here is not None:
        return here.bundle
    check_remote(remote, str(record.remote_uuid))
    data = read_record(remote, bundle_key(id))
    if data is None:
        raise BundleNotFound(
            f"{remote.url} has no bundle {id}", hint="bundlerun pull; bundlerun ls"
        )
    bundle = PushedBundle.from_bytes(data, id).bundle
    scope.progress.line(
        f"{context.name} is bound to {context.remote_url} by now: {record.output} is brought whole"
        f" from {remote.url}"
    )
    localise(store, remote, [bundle], progress=scope.progress)
    return store.add_root(context, bundle, commit=True).bundle


def _is_the_same(latest: BundleRecord, found: BundleRecord, plan: RunPlan) -> bool:
    tagged = plan.task.output_tags.items() <= latest.tags.items()
    same_work = latest.lineage.request == found.lineage.request
    return latest.root == found.root and same_work and tagged
