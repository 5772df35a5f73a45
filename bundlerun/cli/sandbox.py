"""``bundlerun sandbox``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from bundlerun.cli.bars import Bars
from bundlerun.settings import read_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """An AWS in a box on this machine: a moto server whose Batch starts real containers on the
    local engine. For trying AWSBatch with no account; what it holds is gone when it stops."""


@command.command()
def up() -> None:
    """Start it, or find it running, and print what to export: eval "$(bundlerun sandbox up)"."""
    from bundlerun.aws import sandbox

    with Bars() as bars:
        info = sandbox.up(_folder(), progress=bars)
    for name, value in info.env.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    if sys.stdout.isatty():
        click.echo('# to have this shell use it: eval "$(bundlerun sandbox up)"', err=True)


@command.command()
def down() -> None:
    """Stop it; its buckets are gone with it."""
    from bundlerun.aws import sandbox

    stopped = sandbox.down(_folder())
    click.echo("the sandbox is down" if stopped else "no sandbox was up")


@command.command()
def status() -> None:
    """Say whether it runs. Exit code 1 when it does not."""
    from bundlerun.aws import sandbox

    info = sandbox.status(_folder())
    if info is None:
        click.echo("no sandbox is up; bundlerun sandbox up starts one")
        raise click.exceptions.Exit(1)
    click.echo(f"up at {info.endpoint}: bucket {info.bucket}, queue {info.queue}")


def _folder() -> Path:
    return read_settings().home / "sandbox"
