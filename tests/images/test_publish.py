"""Images sent to a real registry."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bundlerun.aws.session import Aws
from bundlerun.connections import Connections
from bundlerun.errors import EngineError, SettingsError
from bundlerun.images.build import build, find_image
from bundlerun.images.image import ImageInfo
from bundlerun.images.publish import noted_registry, publish
from bundlerun.progress import SILENT, Progress
from bundlerun.settings import ImageSettings, Settings
from tests.images.conftest import Listener, shop_recipe

Shop = tuple[ImageInfo, list[str], ImageSettings]

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def registry_digest(registry: str, name: str, tag: str) -> str:
    """What the registry itself says that ``name:tag`` is."""
    request = urllib.request.Request(
        f"http://{registry}/v2/{name}/manifests/{tag}", method="HEAD", headers={"Accept": MANIFEST}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def connections(images: ImageSettings, progress: Progress = SILENT) -> Connections:
    """By these settings of images."""
    nowhere = Path("/nowhere")
    return Connections(Settings(nowhere, nowhere, images=images), progress)


def test_a_pushed_image_is_named_by_the_registry_s_digest(
    engine: Any, registry: str, shop_image: Shop, session_prefix: str
) -> None:
    """Under its content and as latest; the engine can have it back under that name."""
    info, _, _ = shop_image
    listener = Listener()
    pushed = publish(info, connections(ImageSettings(registry=registry), listener))
    name = f"{session_prefix}/bundlerun-shop-total"
    for tag in (info.ref.tag, "latest"):
        assert registry_digest(registry, name, tag) == pushed.ref.digest
    assert pushed.ref.pullable == f"{registry}/{name}@{pushed.ref.digest}"
    assert pushed.name == info.name
    assert listener.lines
    assert engine.images.pull(f"{registry}/{name}", tag=pushed.ref.digest).id == info.ref.id
    found = find_image(info.name)
    assert found is not None
    assert found.pullable == pushed.ref.pullable


def test_a_registry_in_the_settings_is_part_of_the_name(
    engine: Any, registry: str, shop_image: Shop, shop_root: Any
) -> None:
    """And is not put before it twice."""
    _, _, old = shop_image
    settings = ImageSettings(old.repository_prefix, registry, old.base_image)
    info = ImageInfo.of(build(shop_recipe(shop_root, settings)))
    assert info.name == f"{registry}/{old.repository_prefix}/bundlerun-shop-total"
    pushed = publish(info, connections(settings))
    assert pushed.ref.name == info.name
    assert (pushed.ref.digest or "").startswith("sha256:")


def test_ecr_has_its_repository_made_and_its_login_used(
    engine: Any,
    registry: str,
    moto_server: str,
    shop_image: Shop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ECR's own calls go to moto, which takes no push: that goes to a registry beside it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    around = connections(ImageSettings(registry=f"ecr@{registry}"))
    info, _, _ = shop_image
    pushed = publish(info, around)
    assert pushed.ref.pullable == f"{registry}/{info.name}@{pushed.ref.digest}"
    made = (
        Aws.of(around)
        .client("ecr")
        .describe_repositories(repositoryNames=[info.name])["repositories"]
    )
    assert made[0]["imageScanningConfiguration"]["scanOnPush"] is True


def test_the_account_s_own_registry_is_another_one_elsewhere(
    moto_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was pushed in one region is in no other; an address is the same for everybody."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    seen = []
    for region in ("eu-central-1", "us-east-1"):
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        seen.append(noted_registry(connections(ImageSettings(registry="ecr"))))
    assert seen[0] != seen[1]
    assert seen[0] == "ecr 123456789012 eu-central-1"
    assert noted_registry(connections(ImageSettings(registry="h.example/x"))) == "h.example/x"


def test_without_a_registry_it_says_how_to_name_one(shop_image: Shop) -> None:
    """Nothing is sent anywhere."""
    with pytest.raises(SettingsError, match="BUNDLERUN_REGISTRY"):
        publish(shop_image[0], connections(ImageSettings()))


def test_a_registry_that_does_not_answer_is_an_engine_error(shop_image: Shop) -> None:
    """With the name that could not be pushed."""
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9/.* could not be pushed"):
        publish(shop_image[0], connections(ImageSettings(registry="127.0.0.1:9")))
