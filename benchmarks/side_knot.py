"""bundlerun's side of the works that make resources on AWS and map functions."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from mapped import square
from measuring import (
    asked_while_waiting,
    bare_runs,
    control,
    counted,
    of_services,
    output_of,
    peak_bytes,
    processes,
    repeated,
)

LONG_S = 900
NAME = "bench"
MOST_VCPUS = 256
"""As many as cloudknot's default: so many jobs run side by side."""

_AGAIN = f"import bundlerun as br; br.Knot({NAME!r})"


def _knot() -> Any:
    """The Knot with its Pars, made. Its image is a name: none is built or pushed."""
    import bundlerun as br

    pars = br.Pars(NAME)
    return br.Knot(NAME, square, pars, image="bench", max_vcpus=MOST_VCPUS)


def _bound_knot() -> Any:
    """The same, and a context that is bound to its remote."""
    import bundlerun as br

    knot = _knot()
    br.context("work")
    br.switch("work")
    br.remote("work", knot.outputs.remote)
    return knot


def import_time(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Whole-process time of `import bundlerun`, and what it asks of AWS."""
    with counted() as found:
        times = processes("seconds", [sys.executable, "-c", "import bundlerun"], 5)
    return {**times, "requests": found["requests"]}


def make_knot(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Pars and Knot made; then found again by another process, which is timed as a whole."""
    import bundlerun  # noqa: F401

    with counted() as made:
        _knot()
    with counted() as again:
        output_of([sys.executable, "-c", _AGAIN])
    looks = made["operations"].get("cloudformation.DescribeStackEvents", 0)
    return {"made": {**made, "beside": made["requests"] - looks}, "again": again}


def map_items(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """N items submitted, the first map of a process; then all results, as the jobs end."""
    knot = _bound_knot()
    with counted() as submitted:
        run = knot.map(range(given.count))
    with counted() as gathered:
        control("go")
        results = list(run.results(LONG_S))
    if results != [item * item for item in range(given.count)]:
        raise RuntimeError(f"the results begin with {results[:3]}")
    return {"submitted": of_services(submitted), "gathered": of_services(gathered)}


def wait_for_jobs(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What is asked in the first seconds that a map of N items runs."""
    run = _bound_knot().map(range(given.count))
    found = asked_while_waiting(given.seconds)
    run.cancel()
    return found


def many_items(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The memory that an item takes: of N items, a hundred a job, with their results."""
    knot = _bound_knot()
    control("go")
    list(knot.map(range(100)).results(LONG_S))
    before = peak_bytes()
    run = knot.map(range(given.count), chunksize=100)
    results = list(run.results(LONG_S))
    if results[-1] != (given.count - 1) ** 2:
        raise RuntimeError(f"the results end with {results[-1]}")
    return {"item_bytes": (peak_bytes() - before) / given.count}


def map_local(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """N items in containers here, and a bare run of their image; the image is there before."""
    import bundlerun as br

    os.environ["BUNDLERUN_BASE_IMAGE"] = given.base
    br.context("work")
    br.switch("work")
    br.remote("work", f"file://{home / 'remote'}")
    image = br.DockerImage(square, requirements=[])
    built = image.build()
    list(br.map(square, [1], image=image).results(LONG_S))
    found: dict[str, Any] = bare_runs(built)
    results: list[Any] = []

    def map_all() -> None:
        results[:] = br.map(square, range(given.count), image=image).results(LONG_S)

    found.update(repeated("one", lambda: list(br.map(square, [1], image=image).results(LONG_S)), 3))
    found.update(repeated("seconds", map_all, 3))
    if results != [item * item for item in range(given.count)]:
        raise RuntimeError(f"the results begin with {results[:3]}")
    return found
