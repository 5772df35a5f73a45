"""``bundlerun dockerize``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from bundlerun.api.docker_image import DockerImage, script_image
from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json
from bundlerun.errors import UsageError
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
@click.option(
    "--script",
    type=click.Path(path_type=Path),
    help="A script to make the image for, in place of PIPE_ROOT and PKG.MODULE.PIPE.",
)
@as_json
@click.argument("pipe_root", type=click.Path(path_type=Path), required=False)
@click.argument("pipe", metavar="PKG.MODULE.PIPE", required=False)
@with_workspace
def command(
    workspace: Workspace,
    pipe_root: Path | None,
    pipe: str | None,
    script: Path | None,
    push: bool,
    no_build: bool,
    config_dir: Path | None,
    base_image: str | None,
    platform: str | None,
    as_json: bool,
) -> None:
    """Make the image of the module of PKG.MODULE.PIPE, or of a script.

    PIPE_ROOT is the folder that holds pkg/module.py. Unchanged content is not built again. A script
    is mapped over lists of arguments (see bundlerun.DockerImage).
    """
    chosen: dict[str, Any] = {
        "config_dir": config_dir,
        "base_image": base_image,
        "platform": platform,
    }
    if script is not None:
        if pipe_root is not None:
            raise UsageError(
                f"an image is for a pipe or for a script, and {pipe_root} and {script} are given",
                hint=f"bundlerun dockerize --script {script}",
            )
        _of_script(
            script_image(script, workspace.scope.connections, **chosen), push, no_build, as_json
        )
        return
    if pipe_root is None or pipe is None:
        raise UsageError(
            "PIPE_ROOT and PKG.MODULE.PIPE are missing, or --script",
            hint="bundlerun dockerize PIPE_ROOT PKG.MODULE.PIPE",
        )
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


def _of_script(image: DockerImage, push: bool, no_build: bool, as_json: bool) -> None:
    assert image.script is not None
    if no_build:
        click.echo(image.write(Path(f"bundlerun-{image.script.stem}")))
        return
    pullable = image.push() if push else image.build()
    if as_json and image.ref is not None:
        echo_json({"ref": dataclasses.asdict(image.ref), "pullable": pullable})
        return
    click.echo(pullable)
