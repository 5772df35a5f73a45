"""The backends under test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.harness import Harness, LocalHarness, MotoBatchHarness, ProcessesHarness, bring


@pytest.fixture
def local(base_image: str, tmp_path: Path) -> Iterator[LocalHarness]:
    """LocalDocker on the real engine."""
    harness = LocalHarness(base_image, tmp_path)
    yield harness
    harness.clean()


@pytest.fixture
def moto_batch(
    base_image: str, moto_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MotoBatchHarness]:
    """AWSBatch on the sandbox's Batch, which starts real containers."""
    harness = MotoBatchHarness(base_image, tmp_path, moto_server, monkeypatch)
    yield harness
    harness.clean()


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessesHarness]:
    """The backend that another distribution brings."""
    bring(tmp_path / "site", "Processes = tests.backends.processes:Processes")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    harness = ProcessesHarness("", tmp_path)
    yield harness
    harness.clean()


_MARKS = {
    "local": ["service", "engine"],
    "moto_batch": ["service", "engine", "batch"],
    "processes": ["slow"],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each backend in turn."""
    if "harness" in metafunc.fixturenames:
        params = [
            pytest.param(name, marks=[getattr(pytest.mark, mark) for mark in marks])
            for name, marks in _MARKS.items()
        ]
        metafunc.parametrize("harness", params, indirect=True)


@pytest.fixture
def harness(request: pytest.FixtureRequest) -> Harness:
    """Each backend in turn."""
    found: Harness = request.getfixturevalue(request.param)
    return found
