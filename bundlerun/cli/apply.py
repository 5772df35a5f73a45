"""``bundlerun apply``."""

from __future__ import annotations

from pathlib import Path

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import (
    PipeCommand,
    as_json,
    given_options,
    misplaced,
    pipe_parameters,
    tag_option,
    with_workspace,
)
from bundlerun.cli.render import echo_json, label
from bundlerun.errors import BadParameter


@click.command(cls=PipeCommand, context_settings={"allow_interspersed_args": False})
@click.option("--workers", default=1, show_default=True, help="Processes to run pipes in.")
@click.option("--force", is_flag=True, help="Run the last pipe even if its output exists.")
@click.option("--force-all", is_flag=True, help="Run every pipe.")
@tag_option("-it", "--input-tag", "input_tags", help="Select the input by tag; repeatable.")
@tag_option("-ot", "--output-tag", "output_tags", help="Tag the output; repeatable.")
@click.option("--commit", is_flag=True, help="Commit the outputs.")
@click.option(
    "--pipe-root",
    type=click.Path(path_type=Path),
    help="The folder that holds pkg/module.py; the current one by default.",
)
@click.option(
    "--luigid",
    metavar="URL",
    help='Report the graph to this luigi central scheduler ("": to none).',
)
@given_options
@as_json
@click.argument("input", metavar="IN")
@click.argument("output", metavar="OUT")
@click.argument("pipe", metavar="PKG.MODULE.PIPE")
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--PARAM VALUE]...")
@with_workspace
def command(
    workspace: Workspace,
    input: str,
    output: str,
    pipe: str,
    parameters: tuple[str, ...],
    as_json: bool,
    **options: object,
) -> None:
    """Run PKG.MODULE.PIPE here on the bundle IN and keep its output as OUT.

    "-" as IN: without an input.
    """
    params = pipe_parameters(parameters)
    try:
        bundle = workspace.apply(input, output, pipe, params=params, **options)  # type: ignore[arg-type]
    except BadParameter as error:
        error.hint = misplaced(params, command) or error.hint
        raise
    if as_json:
        echo_json(bundle.to_json())
    else:
        click.echo(f"made {label(bundle)}")
