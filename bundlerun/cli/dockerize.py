"""``bundlerun dockerize``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json
from bundlerun.formatting import clean


@click.command()
@click.option("--push", is_flag=True, help="Send the image to the configured registry or ECR.")
@click.option(
    "--no-build",
    is_flag=True,
    help="Only write the build context, to ./bundlerun-pkg-module.",
)
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path),
    help="The folder of deb.txt and requirements.txt.",
)
@click.option("--base-image", help="The base image; python:X.Y-slim by default.")
@click.option("--platform", help="The platform of the image, such as linux/amd64.")
@as_json
@click.argument("pipe_root", type=click.Path(path_type=Path))
@click.argument("pipe", metavar="PKG.MODULE.PIPE")
@with_workspace
def command(
    workspace: Workspace,
    pipe_root: Path,
    pipe: str,
    push: bool,
    no_build: bool,
    config_dir: Path | None,
    base_image: str | None,
    platform: str | None,
    as_json: bool,
) -> None:
    """Make the image of the module of PKG.MODULE.PIPE.

    PIPE_ROOT is the folder that holds pkg/module.py. Unchanged content is not built again.
    """
    chosen: dict[str, Any] = {
        "config_dir": config_dir,
        "base_image": base_image,
        "platform": platform,
    }
    if no_build:
        folder = Path("bundlerun-" + pipe.rpartition(".")[0].replace(".", "-"))
        click.echo(workspace.write_build_context(folder, pipe_root, pipe, **chosen))
        return
    image = workspace.dockerize(pipe_root, pipe, push=push, **chosen)
    if as_json:
        echo_json({**dataclasses.asdict(image), "pullable": image.ref.pullable})
        return
    click.echo(image.ref.pullable)
    for name in image.described.schema["pipes"]:
        click.echo(f"  {clean(name)}")
