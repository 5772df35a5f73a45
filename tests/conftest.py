"""Fixtures for every test: an environment of its own, and real services on request.

A test that asks for a service gets the markers `service` and the service's own, so
`-m "not service"` selects the tests that need nothing but Python, and `-m quick` those of them that
`make check` has time for.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from bundlerun.settings import StoreSettings
from bundlerun.store.mounts import IN_MEMORY, file_system, is_shared
from tests import recorded_calls, services

# A busy machine is no failure: no example has a deadline, and none is refused as slow to make.
# A fixture that is the test's own is given to all of its examples: each keeps what it makes apart.
hypothesis.settings.register_profile(
    "complete",
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.register_profile(
    "quick", hypothesis.settings.get_profile("complete"), max_examples=15
)


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples hypothesis makes, before a test module asks for them."""
    quick = config.getoption("markexpr") == "quick"
    hypothesis.settings.load_profile("quick" if quick else "complete")
    # What is imported and collected stays to the end: no collection of garbage need look at it.
    gc.disable()


recorded_calls.install()


@pytest.fixture(autouse=True)
def listed_calls() -> Iterator[None]:
    """No test has bundlerun call an operation of AWS that its policies do not know."""
    yield
    unlisted = recorded_calls.unlisted()
    if unlisted and not recorded_calls.writes():
        recorded_calls.recorded.difference_update(unlisted)
        names = ", ".join(f"{flow}: {call}" for flow, call in unlisted)
        pytest.fail(f"called, and not in tests/recorded_calls.py: {names}")


def pytest_sessionfinish() -> None:
    """Write what was recorded, where that is asked for."""
    recorded_calls.write()


def pytest_collection_finish() -> None:
    """Collect garbage again, that of the tests alone."""
    gc.freeze()
    gc.enable()


# A shell without job control starts what it puts in the background with Ctrl-C ignored, and every
# child inherits that: the tests that interrupt one would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def fixtures_of(item: pytest.Item) -> set[str]:
    """Every fixture that a test uses, those too that a fixture asks for by its parameter's value.

    A conformance suite's fixture is parametrised with the names of others and asks for one with
    `getfixturevalue`, which pytest's own list does not show.
    """
    manager = item.session._fixturemanager
    found = set(getattr(item, "fixturenames", ()))
    callspec = getattr(item, "callspec", None)
    waiting = [
        value
        for name, value in (callspec.params.items() if callspec else ())
        if isinstance(value, str) and manager.getfixturedefs(name, item)
    ]
    while waiting:
        definitions = manager.getfixturedefs(name := waiting.pop(), item)
        if definitions and name not in found:
            found.add(name)
            waiting.extend(definitions[-1].argnames)
    return found


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test with the services that its fixtures need."""
    fixtures = fixtures_of(item)
    needed = {marker for name, marker in services.MARKER_OF_FIXTURE.items() if name in fixtures}
    for marker in sorted(needed):
        item.add_marker(marker)
    if needed:
        item.add_marker("service")
    if needed & {"engine", "batch"}:
        # Images and containers of one engine are seen by all: one worker at a time uses it. The
        # mark must be there before pytest-xdist looks for it, which is when all are collected.
        item.add_marker(pytest.mark.xdist_group("engine"))
    if not any(item.get_closest_marker(name) for name in ("service", "slow", "heavy")):
        item.add_marker("quick")


_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tests' home folders."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def isolated_environment(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the real home folder, the caller's AWS or bundlerun settings, or XDG folders."""
    # Numbered here: pytest looks through all the folders of the tests before it numbers one.
    home = homes / str(next(_NUMBERS))
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("AWS_", "BUNDLERUN_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("BUNDLERUN_HOME", str(home / "bundlerun"))
    # Without credentials AWS clients ask an address that may not answer for seconds.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@dataclass(frozen=True)
class Disk:
    """A folder whose files' times are believed, by a store with these settings."""

    path: Path
    settings: StoreSettings


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A folder on a disk, wherever the tests' own folder is; where there are layers alone, with
    the setting that believes them."""
    places = [tmp_path, Path("/var/tmp"), Path("/tmp"), Path(__file__).parents[1]]
    kinds = {place: file_system(place) for place in places if place.is_dir()}
    chosen = [place for place, kind in kinds.items() if not (kind == "overlay" or is_shared(kind))]
    chosen = [place for place in (*chosen, *kinds) if kinds[place] not in IN_MEMORY]
    if not chosen:
        pytest.fail(f"needs a folder on a disk, not in memory: {[*kinds]}")
    folder = Path(tempfile.mkdtemp(prefix="bundlerun-test-", dir=chosen[0]))
    yield Disk(folder, StoreSettings(trust_times=kinds[chosen[0]]))
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def engine() -> Any:
    """A client of a running Docker engine (docker.DockerClient)."""
    services.start("engine", "up")
    import docker

    host = os.environ.get("DOCKER_HOST") or services.docker_host()
    if host:
        os.environ["DOCKER_HOST"] = host
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: Any) -> str:
    """The name of an image on the engine that has Python."""
    return services.start("base-image").splitlines()[-1]


@pytest.fixture(scope="session")
def s3_server() -> services.S3Server:
    """A production S3 server."""
    return services.started_s3()


@pytest.fixture
def s3_bucket(s3_server: services.S3Server) -> Iterator[str]:
    """The name of a bucket that is this test's own."""
    name = f"test-{uuid.uuid4()}"
    client = s3_server.client()
    client.create_bucket(Bucket=name)
    yield name
    with contextlib.suppress(client.exceptions.NoSuchBucket):
        services.empty_and_delete(client, name)


@pytest.fixture
def s3_env(
    s3_server: services.S3Server, monkeypatch: pytest.MonkeyPatch, isolated_environment: None
) -> dict[str, str]:
    """The environment that points AWS clients at the S3 server, set for this test."""
    environment = s3_server.environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture(scope="session")
def registry() -> str:
    """The address of a container registry that the engine trusts, `host:port`."""
    services.start("registry", "up")
    return f"127.0.0.1:{services.MACHINE_ENV.get('BUNDLERUN_REGISTRY_PORT', '5000')}"


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an AWS in a box; its Batch starts containers when the test asks for `engine`.

    Its containers use the host's network, so they reach it and the S3 server on 127.0.0.1.
    """
    with services.running_moto(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint
