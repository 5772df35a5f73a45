"""Images, made on a real engine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pip._internal.models.index import PyPI

from bundlerun.errors import BuildFailed
from bundlerun.images import image as names
from bundlerun.images.build import KEPT_CONTENTS, build, find_image
from bundlerun.images.builders import buildkit_command
from bundlerun.images.image import ImageInfo, ImageRef
from bundlerun.images.recipe import ImageOptions
from bundlerun.pipelines.source import source_digest
from bundlerun.runs.job_spec import WORKER
from bundlerun.settings import ImageSettings
from tests.images.conftest import Listener, shop_recipe
from tests.images.projects import PIPE, recipe_of, shop, write

Shop = tuple[ImageInfo, list[str], ImageSettings]

ASK = """
import getpass, json, os, pathlib
import bundlerun, luigi, toolz
from shop import total
home = pathlib.Path.home()
for folder in (home, pathlib.Path.cwd(), os.environ["MPLCONFIGDIR"], os.environ["XDG_CACHE_HOME"]):
    (pathlib.Path(folder) / "probe").write_text("x")
print(json.dumps([os.getuid(), getpass.getuser(), total.__file__]))
"""


def inside(engine: Any, image: str, command: list[str], **options: Any) -> str:
    """What ``command`` prints in a container of ``image``."""
    output: bytes = engine.containers.run(
        image, command[1:], entrypoint=command[0], remove=True, network_mode="none", **options
    )
    return output.decode()


def layers(engine: Any, ref: ImageRef) -> list[str]:
    """The layers of an image, from the base up."""
    found: list[str] = engine.images.get(ref.id).attrs["RootFS"]["Layers"]
    return found


@pytest.mark.parametrize("user", ["", "54321:54321"])
def test_the_pipeline_runs_as_any_user_with_what_it_needs(
    engine: Any, shop_image: Shop, user: str
) -> None:
    """Not as root; a package that bundlerun lacks is there; home and caches can be written."""
    asked = inside(engine, shop_image[0].ref.pullable, ["python", "-c", ASK], user=user)
    uid = 54321 if user else 1000
    assert json.loads(asked) == [uid, "bundlerun", "/bundlerun/code/shop/total.py"]


def test_the_command_of_a_job_is_bundlerun_s(engine: Any, shop_image: Shop) -> None:
    """It needs nothing but the interpreter on the path: no entrypoint stands before it."""
    config = engine.images.get(shop_image[0].ref.id).attrs["Config"]
    assert config["User"] == "1000:1000"
    assert not config["Entrypoint"]
    command = [*WORKER, "--help"]
    output = engine.containers.run(shop_image[0].ref.pullable, command, remove=True)
    assert b"Carry out the plan of RUN" in output


def test_nothing_goes_in_that_is_not_needed(engine: Any, shop_image: Shop) -> None:
    """No .git, no secrets, no data, no other folder; the system package is there."""
    listing = inside(engine, shop_image[0].ref.pullable, ["find", "/bundlerun/code", "-type", "f"])
    assert sorted(listing.split()) == [
        f"/bundlerun/code/shop/{name}"
        for name in ("__init__.py", "prices.py", "table.csv", "total.py")
    ]
    assert "less" in inside(engine, shop_image[0].ref.pullable, ["less", "--version"])
    leak = ["sh", "-c", "grep -rl hunter2 /bundlerun /home /tmp /root 2>/dev/null | cat"]
    assert inside(engine, shop_image[0].ref.pullable, leak, user="0:0") == ""


def test_the_labels_say_what_run_must_know(shop_root: Path, shop_image: Shop) -> None:
    """Pipes, digests, git's word, and the folder it was made of."""
    info, _, settings = shop_image
    assert info.described.module == "shop.total"
    assert info.described.source == source_digest(shop_root, "shop.total")
    assert (info.described.commit, info.described.dirty) == ("c" * 40, True)
    assert info.described.pipe_root == str(shop_root)
    rate = info.described.schema["pipes"]["shop.total.Total"]["params"]["rate"]
    assert (rate["type"], rate["default"]) == ("float", "1.5")
    recipe = shop_recipe(shop_root, settings)
    assert (info.described.environment, info.content) == (recipe.environment, recipe.content)
    assert info.ref.labels[names.OCI_REVISION] == "c" * 40
    assert info.ref.labels[names.OCI_CREATED].startswith("20")


def test_the_build_is_streamed(tmp_path: Path, settings: ImageSettings) -> None:
    """The lines name the steps, of code that no builder has seen before."""
    root = shop(tmp_path, {"shop/own.py": f"# {uuid.uuid4()}\n"})
    listener = Listener()
    build(recipe_of(root, settings=settings), progress=listener)
    assert any("bundlerun.pipelines.describe" in line for line in listener.lines)


def test_the_image_is_small(engine: Any, shop_image: Shop) -> None:
    """All that bundlerun needs adds less than 300 MB to the base."""
    info, _, settings = shop_image
    base = engine.images.get(settings.base_image).attrs["Size"]
    assert engine.images.get(info.ref.id).attrs["Size"] - base < 300_000_000


def test_unchanged_content_is_not_built_again(shop_root: Path, shop_image: Shop) -> None:
    """It answers without a line from a builder."""
    info, _, settings = shop_image
    listener = Listener()
    recipe = shop_recipe(shop_root, settings)
    again = build(recipe, progress=listener)
    assert (again.id, listener.lines) == (info.ref.id, [])
    assert find_image(recipe.name) == again


def test_a_commit_of_the_same_content_changes_labels_alone(
    engine: Any, tmp_path: Path, settings: ImageSettings, shop_image: Shop
) -> None:
    """Every time anew, without ever adding a layer."""
    root = shop(tmp_path)
    recipe = recipe_of(root, settings=settings)
    first = build(recipe)
    first_layers = layers(engine, first)
    for number in range(3):
        listener = Listener()
        git = (str(number) * 40, False)
        relabelled = build(recipe_of(root, settings=settings, git=git), progress=listener)
        assert listener.lines == []
        told = ImageInfo.of(relabelled).described
        assert (told.commit, told.dirty) == git
        assert layers(engine, relabelled) == first_layers
    assert ImageInfo.of(relabelled).described.schema == ImageInfo.of(first).described.schema


@pytest.mark.parametrize("buildkit", ["1", "0"])
def test_an_edit_rebuilds_the_code_alone(
    engine: Any,
    tmp_path: Path,
    settings: ImageSettings,
    shop_image: Shop,
    monkeypatch: pytest.MonkeyPatch,
    buildkit: str,
) -> None:
    """All layers but the last two (code, schema) are shared; old contents go."""
    monkeypatch.setenv("DOCKER_BUILDKIT", buildkit)
    assert buildkit == "1" or buildkit_command() is None
    root = shop(tmp_path)
    first = build(recipe_of(root, settings=settings))
    first_layers = layers(engine, first)
    built = [first]
    for number in range(KEPT_CONTENTS):
        write(root, {"shop/prices.py": f"BASE = {number + 3}\n"})
        built.append(build(recipe_of(root, settings=settings)))
        assert layers(engine, built[-1])[:-2] == first_layers[:-2]
        assert layers(engine, built[-1])[-2] != first_layers[-2]
    assert inside(engine, built[-1].pullable, ["cat", "/bundlerun/code/shop/prices.py"]) == (
        f"BASE = {KEPT_CONTENTS + 2}\n"
    )
    assert find_image(first.name) == built[-1]
    assert find_image(f"{first.name}:{first.tag}") is None
    there = engine.api.images(filters={"label": f"{names.NAME}={first.name}"})
    assert {row["Id"] for row in there} == {ref.id for ref in built[-KEPT_CONTENTS:]}


def test_four_at_once_make_an_image_each_that_can_be_used(
    engine: Any, tmp_path: Path, settings: ImageSettings, shop_image: Shop
) -> None:
    """Of the same content: none takes away what another one returns."""
    root = shop(tmp_path)
    recipes = [recipe_of(root, settings=settings, git=(digit * 40, False)) for digit in "1234"]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(build, recipes))
    assert len({ref.id for ref in made}) == 4
    for ref in made:
        commit = engine.images.get(ref.id).labels[names.OCI_REVISION]
        assert ImageInfo.of(ref).described.commit == commit
    newest = find_image(made[0].name)
    assert newest is not None
    assert newest.id in {ref.id for ref in made}


def test_both_builders_make_the_same_files(
    engine: Any,
    tmp_path: Path,
    settings: ImageSettings,
    shop_image: Shop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Same code, same configuration, same schema."""
    root = shop(tmp_path)
    seen = []
    for buildkit, other in (("1", ""), ("0", "-classic")):
        monkeypatch.setenv("DOCKER_BUILDKIT", buildkit)
        named = ImageSettings(f"{settings.repository_prefix}{other}", None, settings.base_image)
        ref = build(recipe_of(root, settings=named))
        config = engine.images.get(ref.id).attrs["Config"]
        files = ["sh", "-c", "cd /bundlerun/code && find . -type f -exec sha256sum {} + | sort"]
        seen.append(
            (
                inside(engine, ref.pullable, files),
                [config[key] for key in ("User", "Env", "Entrypoint", "Cmd", "WorkingDir")],
                ImageInfo.of(ref).described.schema,
            )
        )
    assert seen[0] == seen[1]


@pytest.mark.parametrize("buildkit", ["1", "0"])
def test_a_module_that_does_not_import_fails_the_build(
    tmp_path: Path,
    settings: ImageSettings,
    shop_image: Shop,
    monkeypatch: pytest.MonkeyPatch,
    buildkit: str,
) -> None:
    """With its traceback and the cure, and no image is left."""
    monkeypatch.setenv("DOCKER_BUILDKIT", buildkit)
    root = shop(tmp_path, {"shop/total.py": PIPE.replace("import toolz", "import not_there")})
    recipe = recipe_of(root, settings=settings)
    with pytest.raises(BuildFailed, match="No module named 'not_there'") as caught:
        build(recipe)
    assert 'total.py", line 4' in caught.value.message
    assert "Traceback" in caught.value.message
    assert "requirements.txt" in (caught.value.hint or "")
    assert find_image(recipe.name) is None


def test_a_requirement_that_does_not_exist_shows_its_step(
    tmp_path: Path, settings: ImageSettings
) -> None:
    """And pip's own last lines."""
    root = shop(tmp_path, {"requirements.txt": "toolz==99999\n"})
    with pytest.raises(BuildFailed, match=r"No matching distribution .* toolz==99999") as e:
        build(recipe_of(root, settings=settings))
    assert "pip install" in e.value.message.splitlines()[0]


def test_locked_requirements_are_verified_and_a_secret_index_leaves_no_trace(
    engine: Any, tmp_path: Path, settings: ImageSettings
) -> None:
    """bundlerun's own requirements, which have no hashes, come beside them. Credentials of the
    index are in no layer and not in the history (BuildKit alone can promise that)."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(tmp_path / "w")]
    subprocess.run([*pip, "toolz==1.0.0"], check=True, capture_output=True)
    (wheel,) = (tmp_path / "w").iterdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    locked = f"toolz==1.0.0 \\\n    --hash=sha256:{digest}\n"
    root = shop(tmp_path / "root", {"requirements.txt": locked})
    index = os.environ.get("PIP_INDEX_URL") or PyPI.simple_url
    environ = {"PIP_INDEX_URL": index.replace("://", "://me:hunter2@", 1)}
    recipe = recipe_of(root, settings=settings)
    ref = build(recipe, environ=environ if buildkit_command() else {})
    assert inside(engine, ref.pullable, ["python", "-c", "import toolz, luigi"]) == ""
    leak = ["sh", "-c", "grep -rl hunter2 / --exclude-dir=proc --exclude-dir=sys 2>/dev/null | cat"]
    assert inside(engine, ref.pullable, leak, user="0:0") == ""
    assert "hunter2" not in json.dumps(
        [engine.api.history(ref.id), engine.api.inspect_image(ref.id)]
    )
    write(root, {"requirements.txt": locked.replace(digest, "0" * 64)})
    with pytest.raises(BuildFailed, match="DO NOT MATCH THE HASHES"):
        build(recipe_of(root, settings=settings))


def test_requirements_that_contradict_bundlerun_s_fail_the_build(
    tmp_path: Path, settings: ImageSettings
) -> None:
    """They are resolved together: none silently undoes the other."""
    root = shop(tmp_path, {"requirements.txt": "toolz\nclick==7.0\n"})
    with pytest.raises(BuildFailed, match=r"click==7\.0"):
        build(recipe_of(root, settings=settings))


def test_a_system_package_that_does_not_exist_shows_its_step(
    tmp_path: Path, settings: ImageSettings
) -> None:
    """And says where to correct it."""
    root = shop(tmp_path, {"config/deb.txt": "no-such-package-at-all\n"})
    options = ImageOptions(config_dir=root / "config")
    with pytest.raises(BuildFailed, match="Unable to locate package") as caught:
        build(recipe_of(root, settings=settings, options=options))
    assert caught.value.hint == "correct 'no-such-package-at-all' in deb.txt, or in system_packages"
    assert "apt-get" in caught.value.message.splitlines()[0]


@pytest.mark.parametrize("buildkit", ["1", "0"])
def test_a_base_that_is_not_there_is_named(
    tmp_path: Path, settings: ImageSettings, monkeypatch: pytest.MonkeyPatch, buildkit: str
) -> None:
    """With the option that chooses another."""
    monkeypatch.setenv("DOCKER_BUILDKIT", buildkit)
    options = ImageOptions(base_image="127.0.0.1:9/no-such-base:1")
    with pytest.raises(BuildFailed, match="no-such-base") as caught:
        build(recipe_of(shop(tmp_path), settings=settings, options=options))
    assert "--base-image" in (caught.value.hint or "")
