"""Works on an AWS in a box: resources made, functions mapped; and a map in containers here."""

from __future__ import annotations

from dataclasses import replace

from aws_box import aws_box
from figures import Figures, Place, Row, Target, row

OTHER = "cloudknot"
KINDS = {"a future an item": "independent", "array": "array"}
"""cloudknot's two ways: a job an item, or an array of jobs with one future for all results."""

MANY_ITEMS = 20_000
WAITED_S = 60


def import_and_make(place: Place) -> list[Row]:
    """The import; Pars and Knot, made and found again."""
    found = _ours(place, "import_time"), _cloudknots(place, "import_time")
    both = _ours(place, "make_knot"), _cloudknots(place, "make_knot")
    made, again = _phase(both, "made"), _phase(both, "again")
    fifth = Target(1 / 5, True, "1/5")
    return [
        _row("import, whole process", "ms", found, "seconds", fifth),
        _row("import: calls of AWS", "", found, "requests", Target(0)),
        _row("Pars + Knot made: calls", "", made, "requests"),
        _row("of them beside looks at what is made", "", made, "beside", Target(12)),
        _row("Pars + Knot made: time", "s", made, "seconds"),
        _row("Knot found again: calls", "", again, "requests", Target(4)),
        _row("Knot found again, whole process: time", "s", again, "seconds"),
    ]


def map_hundred(place: Place) -> list[Row]:
    """A map of 100 items."""
    return _mapped(place, 100, "a future an item", "array")


def map_thousand(place: Place) -> list[Row]:
    """A map of 1,000 items."""
    return _mapped(place, 1_000, "array")


def map_thousand_futures(place: Place) -> list[Row]:
    """A map of 1,000 items, each with a future on both sides."""
    return _mapped(place, 1_000, "a future an item")


def _mapped(place: Place, count: int, *kinds: str) -> list[Row]:
    """bundlerun's map beside cloudknot's maps of these kinds."""
    ours = _ours(place, "map_items", count=count)
    rows = []
    for kind in kinds:
        theirs = _cloudknots(place, "map_items", kind=KINDS[kind], count=count)
        rows += _map_rows(f"map of {count:,}, {kind}", count, (ours, theirs))
    return rows


def _map_rows(title: str, count: int, both: tuple[Figures, Figures]) -> list[Row]:
    sent, back = _phase(both, "submitted"), _phase(both, "gathered")
    # The results are listed at most once a look.
    fetched = Target(count + 10 + back[0].get("polls", 0), words="one an item, 10, one a look")
    return [
        _row(f"{title}, submitted: calls beside S3", "", sent, "calls", Target(5)),
        _row(f"{title}, submitted: S3 requests", "", sent, "s3", Target(12)),
        _row(f"{title}, submitted: time", "s", sent, "seconds"),
        _row(f"{title}, to all results: questions after jobs", "", back, "polls"),
        _row(f"{title}, to all results: S3 requests", "", back, "s3", fetched),
        _row(f"{title}, to all results: time", "s", back, "seconds"),
    ]


def wait(place: Place) -> list[Row]:
    """100 jobs that run: what is asked of them."""
    options = {"count": 100, "seconds": WAITED_S}
    ours = _ours(place, "wait_for_jobs", **options)
    found = ours, _cloudknots(place, "wait_for_jobs", kind="independent", **options)
    title = "100 jobs run, a future each: requests in the first"
    tenth = Target(1 / 10, True, "1/10")
    return [
        _row(f"{title} 20 s", "", found, "early", Target(12)),
        _row(f"{title} 60 s", "", found, "requests", tenth),
    ]


def memory(place: Place) -> list[Row]:
    """The client's memory for many items; not with cloudknot, which takes up to 10,000."""
    found = _ours(place, "many_items", count=MANY_ITEMS)
    title = f"map of {MANY_ITEMS:,}, its results too: client memory an item"
    return [_row(title, "KB", (found, {}), "item_bytes", Target(3))]


def local(place: Place) -> list[Row]:
    """1,000 trivial items in containers of this machine."""
    found = place.one(place.ours, "map_local", base=place.base_image, count=1_000)
    over = {"over": found["seconds"] - found["bare"]} if found else {}
    title = "`br.map` of 1,000 trivial items, Local"
    return [
        _row("`br.map` of one item, Local: time", "s", (found, {}), "one"),
        _row(f"{title}: time", "s", (found, {}), "seconds"),
        _row(f"{title}: less a bare run of the image", "s", (over, {}), "over", Target(3)),
    ]


def _row(
    title: str, unit: str, sides: tuple[Figures, Figures], key: str, target: Target | None = None
) -> Row:
    return row(title, unit, sides, key, target, OTHER)


def _phase(both: tuple[Figures, Figures], name: str) -> tuple[Figures, Figures]:
    return both[0].get(name, {}), both[1].get(name, {})


def _ours(place: Place, work: str, **options: object) -> Figures:
    """bundlerun's figures of one work, with a box of its own."""
    with aws_box(place.env) as box:
        return replace(place, env={**place.env, **box}).one(place.ours, work, **options)


def _cloudknots(place: Place, work: str, **options: object) -> Figures:
    """cloudknot's."""
    assert place.cloudknot is not None  # these works need it
    with aws_box(place.env, plain=True) as box:
        return replace(place, env={**place.env, **box}).one(place.cloudknot, work, **options)
