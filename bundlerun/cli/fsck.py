"""``bundlerun fsck``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json
from bundlerun.errors import IntegrityError
from bundlerun.formatting import clean, counted, size

if TYPE_CHECKING:
    from bundlerun.store.reports import Finding, Proof

SHOWN = 50
"""Findings of one kind that are shown; --json has all."""


@click.command()
@click.option("--remote", is_flag=True, help="Check the context's remote instead of this store.")
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
@as_json
@with_workspace
def command(workspace: Workspace, remote: bool, repair: bool, as_json: bool) -> None:
    """Read and hash everything in this store, or on the remote.

    Says what is damaged and what can be repaired. Exit code 7 when damage is left.
    """
    proof = workspace.fsck(remote=remote, repair=repair)
    if as_json:
        echo_json(proof.to_json())
    else:
        _show(
            proof,
            workspace.scope.remote(workspace.scope.context()).url
            if remote
            else workspace.scope.store.path,
        )
    if not proof.whole:
        raise click.exceptions.Exit(IntegrityError.exit_code)


def _show(proof: Proof, place: object) -> None:
    shown: Counter[str] = Counter()
    for finding in proof.findings:
        word = _word(finding)
        shown[word] += 1
        if shown[word] <= SHOWN:
            _tell(word, finding)
    for word, count in shown.items():
        if count > SHOWN:
            click.echo(f"... and {count - SHOWN} more that are {word}")
    counts = {**proof.looked_at}
    told = [size(counts.pop("bytes"))] if "bytes" in counts else []
    told = [
        counted(count, what.removesuffix("s")) for what, count in counts.items() if count
    ] + told
    damaged = [finding for finding in proof.findings if finding.is_damage]
    curable = sum(finding.mendable is not None for finding in damaged)
    verdict = f"{len(damaged)} damaged, of which {curable} can be mended" if damaged else "whole"
    click.echo(f"{clean(str(place))}: {', '.join(told) or 'empty'}: {verdict}")


def _word(finding: Finding) -> str:
    return "mended" if finding.mended else finding.kind.value


def _tell(word: str, finding: Finding) -> None:
    told = f"{finding.what}: {finding.detail}" if finding.detail else finding.what
    place = "" if finding.where in finding.what else f"  ({finding.where})"
    click.echo(f"{word:<9} {clean(told)}{clean(place)}")
    if finding.mendable and not finding.mended:
        click.echo(f"{'':<9}   can be mended: {clean(finding.mendable)}")
