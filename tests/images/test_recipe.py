"""The plan of an image: what its digests follow, and the context it makes."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from bundlerun.errors import (
    BadModule,
    BuildFailed,
    EngineError,
    ImageNotFound,
    StaleImage,
    UsageError,
)
from bundlerun.images import image
from bundlerun.images.builders import BuildSurroundings, build_classic
from bundlerun.images.context import context_tar, write_context
from bundlerun.images.dockerfile import Index, dockerfile
from bundlerun.images.image import ImageInfo, ImageRef
from bundlerun.images.recipe import Code, ImageOptions, plan_image
from bundlerun.progress import SILENT
from bundlerun.settings import ImageSettings
from tests.images.projects import recipe_of, shop, write


def test_the_base_is_the_running_python_unless_said(tmp_path: Path) -> None:
    """The argument wins over the settings."""
    root = shop(tmp_path)
    running = f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
    assert recipe_of(root).ingredients.base == running
    settings = ImageSettings(base_image="python:3.12-slim")
    assert recipe_of(root, settings=settings).ingredients.base == "python:3.12-slim"
    options = ImageOptions(base_image="mine:1")
    assert recipe_of(root, settings=settings, options=options).ingredients.base == "mine:1"


def test_the_same_files_give_the_same_content_anywhere(tmp_path: Path) -> None:
    """Neither the folder nor git nor the prefix is part of the content."""
    one = recipe_of(shop(tmp_path / "one"))
    two = recipe_of(
        shop(tmp_path / "two"),
        git=("a" * 40, True),
        settings=ImageSettings(repository_prefix="team"),
    )
    assert one.content == two.content
    assert one.tag == one.content[:16]
    with context_tar(one) as first, context_tar(two) as second:
        assert first.read() == second.read()


def test_an_edit_changes_the_content_and_not_the_environment(tmp_path: Path) -> None:
    """Also of a data file, and of the executable bit."""
    root = shop(tmp_path)
    before = recipe_of(root)
    write(root, {"shop/table.csv": "a,b\n1,3\n"})
    after = recipe_of(root)
    (root / "shop/table.csv").chmod(0o755)
    executable = recipe_of(root)
    assert len({before.content, after.content, executable.content}) == 3
    assert before.environment == after.environment == executable.environment


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({"requirements.txt": "toolz>=0.11\n"}, ImageOptions()),
        ({"config/deb.txt": "git\n"}, ImageOptions(config_dir=Path("config"))),
        ({}, ImageOptions(base_image="debian:bookworm")),
        ({}, ImageOptions(platform="linux/s390x")),
    ],
)
def test_what_the_code_runs_on_changes_the_environment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str | bytes],
    options: ImageOptions,
) -> None:
    """Requirements, system packages, base, platform; and with it the content."""
    monkeypatch.chdir(tmp_path)
    before = recipe_of(shop(tmp_path))
    after = recipe_of(shop(tmp_path, files), options=options)
    assert before.environment != after.environment
    assert before.content != after.content


def test_a_comment_in_the_requirements_changes_nothing(tmp_path: Path) -> None:
    """Nor does the order of their lines change the environment."""
    before = recipe_of(shop(tmp_path, {"requirements.txt": "toolz\nsix\n"}))
    comment = recipe_of(shop(tmp_path, {"requirements.txt": "# x\ntoolz # y\nsix\n"}))
    swapped = recipe_of(shop(tmp_path, {"requirements.txt": "six\ntoolz\n"}))
    assert before.content == comment.content
    assert before.environment == swapped.environment


def test_the_context_can_be_written_to_a_folder(tmp_path: Path) -> None:
    """It holds the Dockerfile and nothing that is not needed; a folder in use is left alone."""
    root = shop(tmp_path / "root", {"notes.md": "", ".git/HEAD": "", "shop/.env": "S=1"})
    recipe = recipe_of(root)
    folder = tmp_path / "context"
    place = write_context(recipe, folder)
    assert place.read_text() == dockerfile(recipe.ingredients)
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {path for path in written if path.startswith("code/")} == {
        "code/shop/__init__.py",
        "code/shop/prices.py",
        "code/shop/table.csv",
        "code/shop/total.py",
    }
    with context_tar(recipe) as archive, tarfile.open(fileobj=archive) as tar:
        assert set(tar.getnames()) == written
    with pytest.raises(UsageError, match="not empty"):
        write_context(recipe, folder)


def test_a_large_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    """The content's tag would name something else."""
    root = shop(tmp_path, {".dockerignore": "!shop/m.bin\n", "shop/m.bin": bytes(2_000_000)})
    recipe = recipe_of(root)
    context_tar(recipe).close()
    write(root, {"shop/m.bin": bytes(1_999_999)})
    with pytest.raises(BuildFailed, match="changed"):
        context_tar(recipe)


@pytest.mark.parametrize(
    "options",
    [
        ImageOptions(base_image="a b"),
        ImageOptions(base_image="x\nRUN evil"),
        ImageOptions(platform="amd64 --push"),
        ImageOptions(config_dir=Path("/nowhere/at/all")),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path: Path, options: ImageOptions) -> None:
    """Before they reach a Dockerfile or a command line."""
    with pytest.raises(UsageError):
        recipe_of(shop(tmp_path), options=options)


def test_a_module_without_files_is_no_recipe(tmp_path: Path) -> None:
    """There would be nothing to put in."""
    with pytest.raises(BadModule, match=r"shop\.gone"):
        plan_image(Code(tmp_path, "shop.gone", recipe_of(shop(tmp_path)).content, []))


def test_an_index_with_credentials_is_a_secret_or_refused(tmp_path: Path) -> None:
    """The classic builder would write it into the image's history; local folders are no index."""
    recipe = recipe_of(shop(tmp_path))
    text = dockerfile(recipe.ingredients, Index.SECRET)
    assert "type=secret" in text
    assert "ARG" not in text
    environ = {
        "PIP_INDEX_URL": "https://me:hunter2@host.example/simple",
        "PIP_EXTRA_INDEX_URL": "file:///opt/simple https://two.example/simple",
        "https_proxy": "http://proxy.example:3128",
    }
    around = BuildSurroundings.of(environ)
    assert around.indexes["PIP_EXTRA_INDEX_URL"] == "https://two.example/simple"
    assert around.proxies == {"https_proxy": "http://proxy.example:3128"}
    with pytest.raises(EngineError, match="credentials") as caught:
        build_classic(None, recipe, around, SILENT)
    assert "hunter2" not in str(caught.value)


def test_an_image_that_bundlerun_did_not_make_is_not_taken_for_one() -> None:
    """Its labels are missing, or are none of ours."""
    for labels in ({}, {image.SCHEMA: "{}"}, {image.SCHEMA: "no JSON"}):
        with pytest.raises(ImageNotFound, match="bundlerun dockerize"):
            ImageInfo.of(ImageRef("bundlerun-a-b", "latest", "sha256:0", None, labels))


def test_an_image_whose_jobs_have_another_form_is_stale() -> None:
    """One that an older bundlerun made is told before a job is started in it, with what to type."""
    labels = {image.MODULE: "a.b", image.PIPE_ROOT: "/there", image.VERSION: "0.0.9"}
    for protocol in ({}, {image.PROTOCOL: "1"}):
        with pytest.raises(StaleImage, match=r"0\.0\.9.*bundlerun dockerize /there a\.b\.PIPE"):
            ImageInfo.of(ImageRef("bundlerun-a-b", "latest", "sha256:0", None, labels | protocol))
