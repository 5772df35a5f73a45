"""``bundlerun gc``."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, echo_table
from bundlerun.errors import UsageError
from bundlerun.formatting import counted, size
from bundlerun.settings import GRACE_S

if TYPE_CHECKING:
    from bundlerun.store.reports import GcReport, MostlyDead

SHOWN = 20
"""Packs that are mostly dead which are shown; --json has all."""

GRACE = f"{GRACE_S // 86_400}d"

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise UsageError(f"{text!r} is not a duration", hint=f"--grace {GRACE} (units: s, m, h, d)")
    return float(match[1]) * _UNITS_S[match[2]]


@click.command()
@click.option("--remote", is_flag=True, help="Clean the context's remote instead of this store.")
@click.option(
    "--grace",
    default=GRACE,
    show_default=True,
    metavar="TIME",
    help="Keep what is younger than 90s, 30m, 12h, 7d.",
)
@click.option(
    "--delete",
    "--yes",
    "delete",
    is_flag=True,
    help="Delete; without it, only show what would be deleted.",
)
@as_json
@with_workspace
def command(workspace: Workspace, remote: bool, grace: str, delete: bool, as_json: bool) -> None:
    """Free the space of what no bundle uses.

    Objects, packs, leftovers of crashes and old runs. A remote needs two clean-ups: the first
    condemns packs, another one some hours later deletes them, so that simultaneous pushes lose
    nothing. Adding, pushing and cleaning up may happen at the same time on any number of machines.
    """
    report = workspace.gc(remote=remote, delete=delete, grace_s=_seconds(grace))
    if as_json:
        echo_json({**dataclasses.asdict(report), "count": report.count, "bytes": report.bytes})
        return
    verb = "bundlerun gc --remote" if remote else "bundlerun gc"
    _show(report, verb if grace == GRACE else f"{verb} --grace {grace}")


def _show(report: GcReport, verb: str) -> None:
    if report.swept:
        rows = [[swept.kind, str(swept.count), size(swept.bytes)] for swept in report.swept]
        echo_table(["KIND", "COUNT", "SIZE"], rows)
    did, does = ("deleted", "condemned") if report.deleted else ("would delete", "would condemn")
    if report.count:
        click.echo(f"{did} {size(report.bytes)}")
    if report.condemned:
        click.echo(
            f"{does} {counted(report.condemned.count, 'pack')}, {size(report.condemned.bytes)}:"
            f" {verb} --delete, {_span(report.wait_s)} later, deletes them"
        )
    if report.waiting:
        click.echo(
            f"condemned before, still to wait: {counted(report.waiting.count, 'pack')},"
            f" {size(report.waiting.bytes)}"
        )
    if report.returned:
        click.echo(f"the store's file gave back {size(report.returned)}")
    if not (report.count or report.condemned or report.waiting):
        click.echo("nothing to delete")
    elif not report.deleted and (report.count or report.condemned):
        click.echo(f"  {verb} --delete  does it")
    _show_mostly_dead(report.mostly_dead)


def _show_mostly_dead(packs: tuple[MostlyDead, ...]) -> None:
    if not packs:
        return
    dead = sum(pack.size - pack.live for pack in packs)
    click.echo(
        f"{counted(len(packs), 'pack')} mostly dead: up to {size(dead)} stay with what is used"
    )
    for pack in packs[:SHOWN]:
        click.echo(f"  {pack.pack}  {size(pack.live)} used of {size(pack.size)}")
    if len(packs) > SHOWN:
        click.echo(f"  ... and {len(packs) - SHOWN} more")


def _span(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.3g} {unit}"
    return f"{seconds:.3g} s"
