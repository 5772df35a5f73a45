"""Works on a store alone: many bundles, many contexts, one of them asked for."""

from __future__ import annotations

from figures import Figures, Place, Row, Target, peak, row

CONTEXTS = 300


def add_commit(place: Place) -> list[Row]:
    """Small bundles, 1,000 and 5,000."""
    rows = []
    for count in (1_000, 5_000):
        rows += _added(count, place.both("add_commit", count=count))
    return rows


def add_very_many(place: Place) -> list[Row]:
    """Small bundles, 100,000; not with Disdat, whose time a bundle grows with their number."""
    return _added(100_000, (place.one(place.ours, "add_commit", count=100_000), {}))


def _added(count: int, found: tuple[Figures, Figures]) -> list[Row]:
    title = f"add + commit, a dict with a 1 KB file, {count:,} bundles"
    share = Target(1 / 5, True, "1/5") if found[1] else Target(1)
    return [
        row(f"{title}: a bundle", "ms", found, "seconds", share),
        row(f"{title}: the mean of all", "ms", found, "mean", Target(1)),
        row(f"{title}: a bare 4 KiB append + fdatasync meanwhile", "ms", found, "disk"),
        row(
            f"{title}: last tenth over first", "x", found, "growth", Target(1.5, words="flat: 1.5")
        ),
        row(f"{title}: disk a bundle", "KB", found, "bytes"),
        row(f"{title}: files a bundle", "", found, "files"),
        peak(title, found),
    ]


def get_latest(place: Place) -> list[Row]:
    """Newest of many versions."""
    found = place.both("get_latest", count=1000)
    return [row("get latest, one name with 1,000 versions", "ms", found, "seconds", Target(1))]


def get_of_a_million(place: Place) -> list[Row]:
    """Newest of a name where the catalog has 1,000,000 bundles."""
    found = (place.one(place.ours, "get_of_many", count=1_000_000), {})
    title = "get latest, 1,000 names with 1,000 versions each"
    return [
        row(title, "ms", found, "seconds", Target(1)),
        row(f"{title}: the slowest of 1,000", "ms", found, "slowest"),
        row(f"{title}: the first of a process", "ms", found, "first"),
        row(f"{title}: catalog on disk", "MB", found, "bytes"),
        peak(title, found),
    ]


def many_contexts(place: Place) -> list[Row]:
    """A bundle in each of 300 contexts, all asked for by one process."""
    one = place.both("get_contexts", contexts=1)
    many = place.both("get_contexts", contexts=CONTEXTS)
    same = Target(one[0].get("open_files", 0), words="with one context")
    title = f"get latest, {CONTEXTS} contexts"
    return [
        row(title, "ms", many, "seconds", Target(1)),
        row("open files, 1 context", "", one, "open_files"),
        row(f"open files, {CONTEXTS} contexts", "", many, "open_files", same),
        peak(title, many),
    ]
