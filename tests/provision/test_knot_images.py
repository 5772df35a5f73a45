"""The image of a Knot: built here, and pushed to the Knot's repository under all its tags."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.sandbox.batch_attempt import Attempt
from tests.engine.relay import relaying
from tests.images.conftest import remove_images
from tests.provision.conftest import Account
from tests.provision.test_knots import LONG_S, beside, counted, double, works

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work() -> Callable[[Attempt], int]:
    """Jobs of this module work."""
    return works


@pytest.fixture
def repository(
    account: Account, engine: Any, base_image: str, registry: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The Knot's repository, which ECR tells of and another registry keeps; images here go with
    the test."""
    monkeypatch.setenv("BUNDLERUN_REGISTRY", f"ecr@{registry}")
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    monkeypatch.setenv("BUNDLERUN_REPOSITORY_PREFIX", "team")
    name = f"bundlerun/{account.name}"
    yield name
    remove_images(engine, name)
    for row in engine.api.images():
        # What lost its names is known by its digest still.
        if any(name in digest for digest in row.get("RepoDigests") or ()):
            engine.api.remove_image(row["Id"], force=True)


def tags(registry: str, repository: str) -> set[str]:
    """The tags that a repository has."""
    with urllib.request.urlopen(f"http://{registry}/v2/{repository}/tags/list") as answer:
        return set(json.load(answer)["tags"])


def test_an_image_of_a_knot_lies_in_its_repository(
    account: Account,
    repository: str,
    registry: str,
    engine: Any,
    base_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under the tag of its content and those that were asked for; what is there is not pushed
    again, and what is here goes with ``clobber(image=True)``. A cold map asks AWS for five things
    beside S3 and STS."""
    with br.open(tmp_path / "store", context="work") as workspace:
        pars = br.Pars(account.name, workspace=workspace)
        options: dict[str, Any] = {"requirements": [], "workspace": workspace}
        knot = br.Knot(account.name, double, pars, image_tags=["v1"], no_cache=True, **options)
        calls = counted(workspace)
        run = knot.map([1])
        asked = beside(calls, "s3", "sts")
        asked.pop("batch DescribeJobs", None)
        assert sum(asked.values()) <= 5, asked
        assert list(run.results(LONG_S)) == [2]
        (content,) = tags(registry, repository) - {"v1"}
        (record,) = workspace.jobs(run.run_id)
        assert (record.image or "").startswith(f"{registry}/{repository}@sha256:")
        with relaying(tmp_path / "engine.sock") as relay:
            monkeypatch.setenv("DOCKER_HOST", relay.url)
            assert list(knot.map([2]).results(LONG_S)) == [4]
            assert list(knot.map([3], base_image=base_image).results(LONG_S)) == [6]
            assert relay.asked == []
        monkeypatch.delenv("DOCKER_HOST")
        image = br.DockerImage(double, requirements=[])
        given = br.Knot(account.name, image=image, image_tags=["v2"], workspace=workspace)
        assert list(given.map([4]).results(LONG_S)) == [8]
        assert tags(registry, repository) == {content, "v1", "v2"}
        knot.clobber(image=True)
        assert engine.images.list(f"{registry}/{repository}") == []
        with pytest.raises(errors.Conflict, match="clobbered"):
            given.map([5])
        again = br.Knot(account.name, double, pars, **options)
        assert list(again.map([6]).results(LONG_S)) == [12]
        assert engine.images.list(f"{registry}/{repository}"), "it is pushed for the new one"
