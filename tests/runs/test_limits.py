"""The size and the limits of jobs: what is left out is the setting, None is none, 0 is zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundlerun.errors import UsageError
from bundlerun.runs.calls.options import CallRequest, MapOptions, call_request
from bundlerun.runs.options import RunOptions, request_of
from bundlerun.runs.request import RunRequest
from bundlerun.settings import Settings, read_settings

CONFIG = "[run]\nvcpus = 2\nmemory_mib = 4096\ngpus = 1\ntimeout_s = 600\nretries = 3\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A file that says everything of jobs."""
    (tmp_path / "config.toml").write_text(CONFIG)
    return read_settings({"BUNDLERUN_HOME": str(tmp_path)})


def of_run(settings: Settings, **options: Any) -> RunRequest:
    """What a run asks for."""
    given = RunOptions(**{"backend": "AWSBatch", **options})
    return request_of((None, "out", "a.b.C"), {}, given, settings)


def of_map(settings: Settings, **options: Any) -> CallRequest:
    """What a map asks for."""
    return call_request(abs, MapOptions(**{"backend": "AWSBatch", **options}), settings, 1)


@pytest.mark.parametrize("asked", [of_run, of_map])
def test_what_is_left_out_is_the_setting(settings: Settings, asked: Any) -> None:
    """The five keys of [run], for a run and for a map."""
    found = asked(settings)
    size = found.resources
    assert (size.vcpus, size.memory_mib, size.gpus) == (2, 4096, 1)
    assert (found.timeout_s, found.retries) == (600, 3)


@pytest.mark.parametrize("asked", [of_run, of_map])
@pytest.mark.parametrize("none", [None, 0])
def test_none_is_none_and_zero_is_zero(settings: Settings, asked: Any, none: int | None) -> None:
    """GPUs, limit and retries of the settings can be asked away."""
    found = asked(settings, gpus=none, retries=none, timeout_s=None)
    assert (found.resources.gpus, found.retries, found.timeout_s) == (0, 0, None)
    assert "gpus" not in found.asked


@pytest.mark.parametrize("asked", [of_run, of_map])
@pytest.mark.parametrize(
    "wrong", [{"vcpus": None}, {"memory_mib": None}, {"timeout_s": 0}, {"retries": -1}]
)
def test_what_cannot_be_meant_is_refused(
    settings: Settings, asked: Any, wrong: dict[str, Any]
) -> None:
    """A container without memory, or a limit of nothing."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        asked(settings, **wrong)


@pytest.mark.parametrize("asked", [of_run, of_map])
def test_retries_of_the_settings_are_those_that_the_backend_makes(
    settings: Settings, asked: Any
) -> None:
    """The engine here makes none, and a file for AWS Batch does not stop what runs here."""
    assert asked(settings, backend="Local").retries == 0
    assert asked(settings, backend="Local", retries=2).retries == 2


@pytest.mark.parametrize("asked", [of_run, of_map])
def test_gpus_of_the_settings_are_kept_or_refused(settings: Settings, asked: Any) -> None:
    """A backend that has none hears of them, as of those that were asked for by name."""
    assert asked(settings).asked == {"gpus"}
