"""The backends under test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.harness import Harness, LocalHarness, MotoBatchHarness


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
    """AWSBatch on moto's Batch, which starts real containers."""
    harness = MotoBatchHarness(base_image, tmp_path, moto_server, monkeypatch)
    yield harness
    harness.clean()


@pytest.fixture(params=["local", "moto_batch"])
def harness(request: pytest.FixtureRequest) -> Harness:
    """Each backend in turn."""
    found: Harness = request.getfixturevalue(request.param)
    return found
