"""``bundlerun sandbox``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from bundlerun.cli.bars import Bars
from bundlerun.settings import read_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run an AWS in a box, to try AWSBatch without an account.

    A moto server on this machine, whose Batch starts real containers on the local engine. What the
    sandbox holds is gone when it stops.
    """


@command.command()
def up() -> None:
    """Start the sandbox, or find it running, and print its environment.

    To have this shell use it: eval "$(bundlerun sandbox up)".
    """
    from bundlerun.sandbox import server, shell

    with _ended_by_signals(), Bars() as bars:
        info = server.up(_folder(), progress=bars)
    for name, value in shell.exports(info.env, os.environ).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    if sys.stdout.isatty():
        click.echo('# to have this shell use it: eval "$(bundlerun sandbox up)"', err=True)


@command.command()
def down() -> None:
    """Stop the sandbox, and delete its buckets.

    Prints what gives the shell its own AWS back: eval "$(bundlerun sandbox down)".
    """
    from bundlerun.sandbox import server, shell

    stopped = server.down(_folder())
    # On standard error: standard output is for the shell.
    click.echo("the sandbox is down" if stopped else "no sandbox was up", err=True)
    leads_to = os.environ.get(shell.ENDPOINT)
    if leads_to is not None and server.answers(leads_to):
        click.echo(f"this shell leads to another sandbox, at {leads_to}, which runs", err=True)
        return
    changes = shell.restored(os.environ)
    for name, value in changes.items():
        click.echo(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")
    if changes and sys.stdout.isatty():
        click.echo(f"# to have this shell leave it: {shell.LEAVE}", err=True)


@command.command()
def status() -> None:
    """Say whether the sandbox runs.

    Exit code 1 when it does not, or does not answer.
    """
    from bundlerun.sandbox import server

    info = server.status(_folder())
    if info is None:
        click.echo("no sandbox is up; bundlerun sandbox up starts one")
        raise click.exceptions.Exit(1)
    if not info.answers:
        click.echo(
            f"up at {info.endpoint} (process {info.pid}), but it has not answered within"
            f" {server.ANSWER_WITHIN_S:g} s; it may be busy, bundlerun sandbox down ends it"
        )
        raise click.exceptions.Exit(1)
    click.echo(f"up at {info.endpoint}: bucket {info.bucket}, queue {info.queue}")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A closed terminal and a kill end the block as Ctrl-C does, so that it cleans up."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signs = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(sign, leave) for sign in signs]
    try:
        yield
    finally:
        for sign, handler in zip(signs, before, strict=True):
            signal.signal(sign, handler)


def _folder() -> Path:
    return read_settings().home / "sandbox"
