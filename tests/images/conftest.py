"""A real image, built once for all tests of this folder, and the removal of what they build."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bundlerun.images.build import build
from bundlerun.images.image import ImageInfo
from bundlerun.images.recipe import ImageOptions, Recipe
from bundlerun.settings import ImageSettings
from tests.images.projects import recipe_of, shop


@dataclass
class Listener:
    """A Progress that keeps the lines."""

    lines: list[str] = field(default_factory=list)

    def start(self, what: str, total: int | None, unit: str) -> int:
        """A bar, not shown."""
        return 0

    def advance(self, bar: int, steps: int) -> None:
        """Not shown."""

    def finish(self, bar: int) -> None:
        """Not shown."""

    def line(self, text: str) -> None:
        """Kept."""
        self.lines.append(text)


@pytest.fixture(scope="session")
def session_prefix(engine: Any) -> Iterator[str]:
    """A prefix that the images of this session have alone; they are removed at the end."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    yield prefix
    remove_images(engine, prefix)


def remove_images(engine: Any, prefix: str) -> None:
    """Remove the images whose names have ``prefix`` in them."""
    import docker.errors

    for row in engine.api.images():
        for tag in row.get("RepoTags") or ():
            if prefix in tag:
                with contextlib.suppress(docker.errors.APIError):
                    engine.api.remove_image(tag, force=True)


@pytest.fixture
def settings(session_prefix: str, base_image: str) -> ImageSettings:
    """Images of this test: names of its own, on the base that this machine has."""
    prefix = f"{session_prefix}/{uuid.uuid4().hex[:8]}"
    return ImageSettings(repository_prefix=prefix, base_image=base_image)


@pytest.fixture(scope="session")
def shop_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the session's image, with things that must stay behind."""
    return shop(
        tmp_path_factory.mktemp("shop"),
        {
            ".git/HEAD": "ref: refs/heads/main\n",
            ".env": "TOKEN=hunter2\n",
            "shop/.env": "TOKEN=hunter2\n",
            "shop/.aws/credentials": "hunter2\n",
            "shop/model.bin": bytes(2_000_000),
            "data/big.csv": "a\n" * 1000,
            "config/deb.txt": "# a small one\nless\n",
            "config/requirements.txt": "toolz>=0.12\n",
        },
    )


def shop_recipe(root: Path, settings: ImageSettings) -> Recipe:
    """The recipe of the session's image."""
    options = ImageOptions(config_dir=root / "config")
    return recipe_of(root, settings=settings, options=options, git=("c" * 40, True))


@pytest.fixture(scope="session")
def shop_image(
    session_prefix: str, base_image: str, shop_root: Path
) -> tuple[ImageInfo, list[str], ImageSettings]:
    """The session's image, the lines of its build, and the settings it was made with."""
    settings = ImageSettings(repository_prefix=session_prefix, base_image=base_image)
    listener = Listener()
    recipe = shop_recipe(shop_root, settings)
    return ImageInfo.of(build(recipe, progress=listener)), listener.lines, settings
