"""What functions run on: found, built or published, and shown."""

from __future__ import annotations

import dataclasses
import sys
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun.errors import EngineError, SettingsError, UsageError
from bundlerun.images.image import CONTENT, ImageRef
from bundlerun.images.recipe import Script
from bundlerun.pipelines.environment import local_environment
from bundlerun.runs.calls.environment import (
    Environment,
    EnvironmentRequest,
    environment_for,
    recipe_of,
)
from tests.backends.harness import bring
from tests.engine.relay import Relay, relaying
from tests.images.conftest import Listener, remove_images
from tests.images.projects import write

RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
NOTHING = EnvironmentRequest()


@pytest.fixture(autouse=True)
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend whose jobs need no image, of another distribution."""
    bring(tmp_path / "site", "Processes = tests.backends.processes:Processes")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[br.Workspace]:
    """A workspace of this test's own, whose progress is kept."""
    with br.open(store=tmp_path / "store") as workspace:
        workspace.progress = Listener()
        yield workspace


def asked(workspace: br.Workspace, backend: str = "Local", **request: Any) -> Environment:
    """The environment of a request."""
    return environment_for(EnvironmentRequest(**request), backend, workspace.scope.runs())


def shown(workspace: br.Workspace) -> str:
    """What the progress was told."""
    progress = workspace.progress
    assert isinstance(progress, Listener)
    return "\n".join(progress.lines)


def test_without_an_image_it_is_this_interpreter(workspace: br.Workspace) -> None:
    """For a backend whose jobs need none, told as everywhere, and nothing is built."""
    found = asked(workspace, "Processes", imports=("numpy",))
    assert (found.image, found.interpreter) == (None, sys.executable)
    assert found.environment == local_environment()
    assert (found.python, found.cloudpickle) == (RUNNING, metadata.version("cloudpickle"))


@pytest.mark.parametrize(
    "request_",
    [
        {"requirements": ["six"]},
        {"base_image": "lab:1"},
        {"system_packages": ("git",)},
        {"image": "lab:1"},
        {"needed": True},
        {"script": Script(Path("fit.py"))},
    ],
)
def test_what_an_image_alone_could_have_is_refused_without_one(
    workspace: br.Workspace, request_: dict[str, Any]
) -> None:
    """It would change nothing."""
    with pytest.raises(UsageError, match="runs without an image"):
        asked(workspace, "Processes", **request_)


def test_an_image_of_one_s_own_is_used_as_it_is(workspace: br.Workspace) -> None:
    """No engine is asked for it; another one is another environment."""
    found = asked(workspace, image="r.example/lab:1")
    assert found.image == "r.example/lab:1"
    assert found.environment != asked(workspace, image="r.example/lab:2").environment


def test_requirements_are_the_argument_s_then_the_project_s_then_the_imports(
    workspace: br.Workspace, tmp_path: Path
) -> None:
    """The first that says something, and it is shown with where it is from."""
    root = write(tmp_path / "root", {"requirements.txt": "rich>=13\n", "mine.py": ""})
    request = EnvironmentRequest(root, ("packaging",), ["six==1.16.0"])
    connections = workspace.scope.connections
    lines = lambda r: recipe_of(r, connections).requirements.lines  # noqa: E731
    assert lines(request) == ("six==1.16.0",)
    request = dataclasses.replace(request, requirements=None)
    assert lines(request) == ("rich>=13",)
    (root / "requirements.txt").unlink()
    installed = f"packaging=={metadata.version('packaging')}"
    assert lines(request) == (installed,)
    said = shown(workspace)
    assert f"rich>=13 ({root / 'requirements.txt'})" in said
    assert f"{installed} (what is imported, as it is installed here)" in said


def test_what_is_imported_and_not_installed_is_named(workspace: br.Workspace) -> None:
    """It may be needed under a condition alone."""
    recipe_of(EnvironmentRequest(imports=("not_there_at_all",)), workspace.scope.connections)
    assert "not_there_at_all is imported and not installed here" in shown(workspace)


def test_without_a_registry_nothing_is_built_for_a_queue(
    workspace: br.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting that is missing is named first."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    with pytest.raises(SettingsError, match="BUNDLERUN_REGISTRY"):
        asked(workspace, "AWSBatch", requirements=[])


def test_the_platform_is_that_of_the_backend_s_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batch's are linux/amd64 unless the settings say otherwise; the engine here knows its own."""
    from bundlerun.backends.open import backend_type
    from bundlerun.settings import read_settings

    assert backend_type("Local").platform(read_settings()) is None
    batch = backend_type("AWSBatch")
    assert batch.platform(read_settings()) == "linux/amd64"
    monkeypatch.setenv("BUNDLERUN_AWS_BATCH_PLATFORM", "linux/arm64")
    assert batch.platform(read_settings()) == "linux/arm64"


def other_content(workspace: br.Workspace) -> str:
    """The content of what Batch gets without any requirement."""
    connections = workspace.scope.connections
    return recipe_of(EnvironmentRequest(), connections, platform="linux/amd64").content


@pytest.fixture
def relay(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """What the engine is asked, by all that is built or looked for in this test."""
    with relaying(tmp_path / "engine.sock") as relay:
        monkeypatch.setenv("DOCKER_HOST", relay.url)
        yield relay


@pytest.fixture
def images(engine: Any, base_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Images of this test: the prefix of their names, on the base that this machine has."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("BUNDLERUN_REPOSITORY_PREFIX", prefix)
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    yield prefix
    remove_images(engine, prefix)


def test_an_image_is_built_once_and_found_by_one_look(
    engine: Any, relay: Relay, images: str, workspace: br.Workspace, tmp_path: Path
) -> None:
    """An edited function needs no other one: its code is in none. What it imports is there as it
    is installed here, and the cloudpickle that pickles here."""
    root = write(tmp_path / "root", {"lab.py": "def f(): ...\n"})
    first = asked(workspace, root=root, imports=("packaging",))
    assert any("/build" in line or "/session" in line or "/grpc" in line for line in relay.asked)
    relay.asked.clear()
    write(root, {"lab.py": "def f(): return 2\n"})
    assert asked(workspace, root=root, imports=("packaging",)) == first
    assert [line for line in relay.asked if "/version" not in line and "_ping" not in line] == [
        f"GET /images/{first.image}/json"
    ]
    ask = (
        "import cloudpickle, packaging, bundlerun, sys;"
        "print(sys.version_info[:2], cloudpickle.__version__, packaging.__version__)"
    )
    said = engine.containers.run(first.image, ["python", "-c", ask], remove=True).decode()
    wanted = (sys.version_info[:2], first.cloudpickle, metadata.version("packaging"))
    assert said.strip() == " ".join(map(str, wanted))


def test_the_sandbox_needs_no_registry(
    engine: Any, images: str, workspace: br.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its containers are of the engine here, which has what it built."""
    for name in ("AWS_ENDPOINT_URL", "BUNDLERUN_SANDBOX_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    made = asked(workspace, "AWSBatch", requirements=[])
    assert (made.image or "").startswith(f"{images}/bundlerun-env:")
    assert engine.images.get(made.image)
    monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", "http://127.0.0.1:10")
    with pytest.raises(SettingsError, match="BUNDLERUN_REGISTRY"):
        asked(workspace, "AWSBatch", requirements=[])


def test_an_image_is_published_once_and_then_known(
    engine: Any,
    registry: str,
    relay: Relay,
    images: str,
    workspace: br.Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its digest, for the queue's platform; the second call asks neither the engine nor the
    registry, also where there is no engine."""
    monkeypatch.setenv("BUNDLERUN_REGISTRY", registry)
    with br.open(store=workspace.scope.store.path) as other:
        first = asked(other, "AWSBatch")
        assert (first.image or "").startswith(f"{registry}/{images}/bundlerun-env@sha256:")
        assert engine.images.get(first.image).attrs["Architecture"] == "amd64"
        relay.asked.clear()
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
        assert asked(other, "AWSBatch") == first
        assert relay.asked == []
        labels = {CONTENT: other_content(other)}
        again = ImageRef("x", "t", "sha256:0", None, labels)
        with pytest.raises(EngineError):  # built again since: it must be pushed again
            asked(other, "AWSBatch", built=again)
        assert next(check for check in other.doctor() if check.what == "image").ok is None
