"""Small pipeline projects that the tests of this folder write to disk."""

from __future__ import annotations

from pathlib import Path

from bundlerun.images.recipe import Code, ImageOptions, Recipe, plan_image
from bundlerun.pipelines.source import source_of
from bundlerun.settings import ImageSettings

PIPE = '''\
"""A pipe that needs a package which bundlerun does not."""

import luigi
import toolz

import bundlerun as br
from shop import prices


class Total(br.Pipe):
    """The sum."""

    rate = luigi.FloatParameter(default=1.5)

    def pipe_run(self, pipeline_input):
        return toolz.last([prices.BASE * self.rate])
'''

FILES = {
    "shop/__init__.py": "",
    "shop/total.py": PIPE,
    "shop/prices.py": "BASE = 2\n",
    "shop/table.csv": "a,b\n1,2\n",
    "requirements.txt": "toolz>=0.12  # for last()\n",
}


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    """``files`` (path to text or bytes) below ``root``; ``root``."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def shop(root: Path, extra: dict[str, str | bytes] | None = None) -> Path:
    """The project of FILES, with ``extra`` over it."""
    return write(root, {**FILES, **(extra or {})})


def code_of(root: Path, module: str = "shop.total", git: tuple[str, bool] | None = None) -> Code:
    """What the other rooms find out of a module's source."""
    commit, dirty = git or (None, False)
    source = source_of(root, module)
    files = sorted(source.modules.values())
    return Code(root, module, source.digest, files, source.named, source.left_out, commit, dirty)


def recipe_of(
    root: Path,
    *,
    settings: ImageSettings | None = None,
    options: ImageOptions | None = None,
    git: tuple[str, bool] | None = None,
) -> Recipe:
    """The recipe of the project's one module."""
    return plan_image(code_of(root, git=git), settings, options)
