"""What images are called."""

from __future__ import annotations

import re

import pytest

from bundlerun.errors import BadModule, SettingsError
from bundlerun.images.image import image_name
from bundlerun.settings import ImageSettings

REFERENCE = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")


def test_the_name_is_made_of_the_module() -> None:
    """Dots become dashes."""
    assert image_name("pkg.module") == "bundlerun-pkg-module"
    assert image_name("my_pkg.sub.mod1") == "bundlerun-my_pkg-sub-mod1"


def test_registry_and_prefix_go_before_it() -> None:
    """In the order registry, prefix, name; ECR's address is not known yet."""
    both = ImageSettings(registry="localhost:5000", repository_prefix="team/a")
    assert image_name("pkg.module", both) == "localhost:5000/team/a/bundlerun-pkg-module"
    for ecr in ("ecr", "ecr@127.0.0.1:5000"):
        settings = ImageSettings(registry=ecr, repository_prefix="team")
        assert image_name("pkg.module", settings) == "team/bundlerun-pkg-module"


@pytest.mark.parametrize(
    "module", ["pkg._private", "Pkg.Mod", "a___b", "_", "a_.b", "pkg.__main__"]
)
def test_modules_that_no_repository_can_be_called_get_a_name_of_their_own(module: str) -> None:
    """The name is valid, and another than the one of the module that is spelled like it."""
    name = image_name(module)
    assert REFERENCE.fullmatch(name)
    assert re.search(r"-[0-9a-f]{8}$", name)


@pytest.mark.parametrize("module", ["", "a..b", "a-b", "a/b", "1a", "a.b;c", "a b", "ä"])
def test_what_is_no_module_is_refused(module: str) -> None:
    """The name goes into a Dockerfile: nothing but identifiers may."""
    with pytest.raises(BadModule):
        image_name(module)


@pytest.mark.parametrize(
    "settings",
    [
        ImageSettings(repository_prefix="Team"),
        ImageSettings(repository_prefix="a//b"),
        ImageSettings(registry="nowhere"),
        ImageSettings(registry="host:5000/Team"),
        ImageSettings(registry="https://host:5000"),
    ],
)
def test_a_prefix_or_registry_that_cannot_be_is_refused(settings: ImageSettings) -> None:
    """Before the engine says something less clear."""
    with pytest.raises(SettingsError):
        image_name("pkg.module", settings)
