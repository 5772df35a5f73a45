"""`make bench`: bundlerun and its peers at the same work, in one run, as a table.

Prints it and, with --write, writes it to RESULTS.md, or the page named, beside this file. Exits 1
when a work could not be done by one of the sides; a missed target is marked in the table.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from counting_proxy import CountingProxy
from figures import Place, Row, Side, SideFailed, Target, Work
from gateway import CI, ScriptFailed, run_script, started_gateway
from works import WORKS, clean_environment

HERE = Path(__file__).resolve().parent
COLUMNS = ("work", "bundlerun", "Disdat, or who is named", "ratio", "target")


def say(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


def script_output(*command: str | Path) -> str:
    """What one of the project's scripts prints. Raises SideFailed with its last words."""
    try:
        return run_script(*command).strip()
    except ScriptFailed as error:
        raise SideFailed(str(error)) from error


@contextmanager
def s3_place(place: Place, latency_ms: float) -> Iterator[Place]:
    """The S3 server behind a counting proxy, with a bucket that is removed at the end."""
    try:
        gateway = started_gateway()
    except ScriptFailed as error:
        raise SideFailed(str(error)) from error
    with gateway.bucket() as bucket, CountingProxy(gateway.url, latency_ms=latency_ms) as proxy:
        yield replace(
            place,
            env={**place.env, **gateway.variables(proxy.url)},
            direct={**place.env, **gateway.variables()},
            gateway=gateway,
            remote=f"s3://{bucket}/bench",
        )


def done_by(work: Work, place: Place, latency_ms: float) -> list[Row]:
    """The rows of one work, with the services that it needs."""
    with ExitStack() as stack:
        if "s3" in work.needs:
            place = stack.enter_context(s3_place(place, latency_ms or work.latency_ms))
        if "engine" in work.needs:
            script_output(CI / "engine", "up")
            place = replace(place, base_image=script_output(CI / "base-image").splitlines()[-1])
        if "cloudknot" in work.needs:
            say("making cloudknot's environment, if it is not there")
            python = Path(script_output(HERE / "cloudknot_env.sh"))
            place = replace(place, cloudknot=Side(python, HERE / "peer_cloudknot.py"))
        return work.do(place)


def number(value: float | None, unit: str) -> str:
    """A figure with as many digits as it deserves."""
    if value is None:
        return "-"
    whole = value == int(value) or value >= 100
    text = f"{value:,.0f}" if whole else f"{value:.3g}"
    return f"{text} {unit}".strip()


def verdict(row: Row, target: Target) -> str:
    """Whether a row reaches its target."""
    if row.ours is None or (target.of_other and row.theirs is None):
        return "not measured"
    return "met" if target.met(row.ours, row.theirs) else "MISSED"


def cell(value: float | None, best: float | None, unit: str) -> str:
    """A figure, and beside a median the best time."""
    text = number(value, unit)
    return text if best is None else f"{text} (best {number(best, '')})"


def cells(row: Row) -> tuple[str, str, str, str, str]:
    """One row as texts, in the order of the columns."""
    ratio = f"{row.ours / row.theirs:.3g}" if row.ours is not None and row.theirs else "-"
    target = "-"
    if row.target is not None:
        words = row.target.words or number(row.target.most, row.unit)
        named = not row.target.of_other or row.other in words
        share = "" if named else f" of {row.other}"
        target = f"<= {words}{share}: {verdict(row, row.target)}"
    theirs = cell(row.theirs, row.best[1], row.unit)
    if row.other != "Disdat" and row.theirs is not None:
        theirs = f"{row.other}: {theirs}"
    return row.work, cell(row.ours, row.best[0], row.unit), theirs, ratio, target


def gist(failure: str) -> str:
    """A failure in one line: what it was, and the last line of a traceback."""
    lines = failure.strip().splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0].split(': ')[0]}: {lines[-1]}"


def markdown(rows: list[Row], failures: list[str], seconds: float, load: float) -> str:
    """The results as a page: when and where, the table, what could not be done."""
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        "# bundlerun against Disdat 1.2.0 with disdat-luigi 1.0.2, and cloudknot 0.6.1",
        "",
        f"{today}; {os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}; {seconds:.0f} s in all, load average {load:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after. Written by `make bench "
        f"ARGS='{shlex.join(sys.argv[1:])}'`; how it is measured stands in README.md. Repeated "
        "works show the median and the best time, others one time, "
        "on a machine that may have had other work; requests and bytes are exact.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---:|---:|---:|---|",
        *(f"| {' | '.join(cells(row))} |" for row in rows),
    ]
    if failures:
        lines += ["", "Not done:", "", *(f"- {gist(text)}" for text in failures)]
    return "\n".join(lines) + "\n"


def table(rows: list[Row]) -> str:
    """The results for a terminal."""
    lines = [COLUMNS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = []
    for line in lines:
        parts = [line[0].ljust(widths[0])]
        parts += [line[column].rjust(widths[column]) for column in (1, 2, 3)]
        text.append("  ".join([*parts, line[4]]).rstrip())
    return "\n".join(text)


def main() -> int:
    """Run the works: the usual ones, all of them or the named ones; the exit code."""
    parser = argparse.ArgumentParser(description="bundlerun and its peers at the same work.")
    names = [work.name for work in WORKS]
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--all", action="store_true", help="the long ones too")
    parser.add_argument(
        "--write", nargs="?", const="RESULTS.md", metavar="NAME", help="the table to a page as well"
    )
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to each S3 request")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        return run(given, {**clean_environment(), "TMPDIR": folder})


def run(given: argparse.Namespace, env: dict[str, str]) -> int:
    """Do the chosen works and show their figures. Returns the exit code."""
    begin, load = time.monotonic(), os.getloadavg()[0]
    say("making Disdat's environment, if it is not there")
    python = Path(script_output(HERE / "disdat_env.sh"))
    place = Place(
        ours=Side(Path(sys.executable), HERE / "side_bundlerun.py"),
        theirs=Side(python, HERE / "peer_disdat.py"),
        boto3=Side(Path(sys.executable), HERE / "peer_boto3.py"),
        env=env,
        direct=env,
        failures=[],
    )
    rows: list[Row] = []
    for work in WORKS:
        if work.name not in given.only if given.only else work.long and not given.all:
            continue
        say(f"{work.name}: {(work.do.__doc__ or '').splitlines()[0]}")
        try:
            rows += done_by(work, place, given.latency_ms)
        except SideFailed as error:
            place.failures.append(f"{work.name}: {error}")
    print(table(rows))
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    for failure in place.failures:
        say(f"not done: {failure}")
    if given.write:
        page = markdown(rows, place.failures, time.monotonic() - begin, load)
        (HERE / given.write).write_text(page)
    return 1 if place.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
