"""bundlerun's side of the works on a store alone that need more than a line."""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

from measuring import disk_use, median_and_best, open_files, repeated, seconds_of

NAMES = 1_000
_AT_A_TIME = 10_000


def get_of_many(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Get the newest of some name from a catalog of N bundles, 1,000 names in equal parts.

    The bundles share one value; the catalog's own code writes their records, many a transaction.
    """
    import bundlerun as br
    from bundlerun.bundles.record import BundleRecord, new_id

    br.context("work")
    br.switch("work")
    root = br.add("name0", {"number": [1]}, commit=True).root
    workspace = br.open()
    store, context = workspace.scope.store, workspace.scope.context()
    begin = time.perf_counter()
    for start in range(1, given.count, _AT_A_TIME):
        with store.catalog._database.writing():
            for number in range(start, min(start + _AT_A_TIME, given.count)):
                bundle = BundleRecord(new_id(), f"name{number % NAMES}", root)
                store.catalog.add(context, bundle, committed=True)
    built = time.perf_counter() - begin
    workspace.close()
    names = [f"name{number}" for number in range(NAMES)]
    random.Random(1).shuffle(names)
    seconds = [seconds_of(lambda name=name: br.get(name)) for name in names]  # type: ignore[misc]
    if br.get(names[0]) != {"number": [1]} or len(br.ls(names[0])) != given.count // NAMES:
        raise RuntimeError("the catalog has not what was written into it")
    return {
        **median_and_best("seconds", seconds),
        "slowest": max(seconds),
        "first": seconds[0],
        "built": built,
        "bytes": disk_use(home / ".bundlerun")["bytes"],
    }


def get_contexts(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Get the newest bundle of each of N contexts in one process; files that it then has open."""
    import bundlerun as br

    names = [f"context{number}" for number in range(given.contexts)]
    for number, name in enumerate(names):
        br.context(name)
        br.switch(name)
        br.add("name", number, commit=True)
    for number, name in enumerate(names):
        br.switch(name)
        if br.get("name") != number:
            raise RuntimeError(f"{name} has the bundle of another context")
    return {**repeated("seconds", lambda: br.get("name"), 20), "open_files": open_files()}
