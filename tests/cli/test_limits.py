"""What is asked of a job and cannot be kept is refused, wherever it would run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlerun.backends.base import Backend, ImageAt, Traits
from tests.backends.harness import bring
from tests.cli.conftest import Said

LIMITS = [
    ("Local", "--retries", "1", "--retries 0"),
    ("Local", "--retries", "-1", "--retries 0"),
    ("Local", "--timeout-s", "0", "x>=1"),
    ("Local", "--memory-mib", "0", "x>=1"),
    ("Local", "--gpus", "-1", "x>=0"),
    ("Local", "--set", "queue=mine", "leave out --set queue"),
    ("AWSBatch", "--retries", "10", "--retries 9"),
    ("AWSBatch", "--timeout-s", "59", "--timeout-s 60"),
    ("AWSBatch", "--vcpus", "0.5", "--vcpus 1"),
    ("AWSBatch", "--vcpus", "1.5", "--vcpus 2"),
    ("AWSBatch", "--memory-mib", "3", "--memory-mib 2048"),
    ("AWSBatch", "--gpus", "-1", "x>=0"),
    ("AWSBatch", "--set", "queue=mine", "leave out --set queue"),
    ("Bare", "--vcpus", "2", "leave out --vcpus"),
    ("Bare", "--memory-mib", "64", "leave out --memory-mib"),
    ("Bare", "--gpus", "1", "leave out --gpus"),
    ("Bare", "--retries", "1", "--retries 0"),
    ("Bare", "--secret", "PATH", "leave out --secret PATH"),
]


class Bare(Backend):
    """A backend that says nothing of itself but its name."""

    name = "Bare"
    traits = Traits(waits=True, image=ImageAt.NONE)
    submit = find = poll = logs = cancel = release = Backend.checks


@pytest.mark.parametrize(("backend", "option", "value", "cure"), LIMITS)
def test_a_limit_that_cannot_be_kept_is_refused(
    bundlerun: Callable[..., Said],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    option: str,
    value: str,
    cure: str,
) -> None:
    """With what to type, and before an image or a remote is needed."""
    bring(tmp_path / "site", "Bare = tests.cli.test_limits:Bare")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    said = bundlerun("run", "--backend", backend, option, value, "-", "out", "pkg.m.Pipe")
    assert (said.code, said.out) == (2, "")
    assert cure in said.err


@pytest.mark.engine
@pytest.mark.parametrize(("option", "value"), [("--vcpus", "4096"), ("--memory-mib", "99999999")])
def test_more_than_the_engine_has_is_refused(
    bundlerun: Callable[..., Said], engine: Any, option: str, value: str
) -> None:
    """The cure names what it has."""
    info = engine.info()
    has = {"--vcpus": info["NCPU"], "--memory-mib": info["MemTotal"] // 2**20}[option]
    said = bundlerun("run", option, value, "-", "out", "pkg.m.Pipe")
    assert said.code == 2
    assert f"{option} {has}" in said.err


def test_credentials_cannot_be_narrowed_where_there_are_none(
    bundlerun: Callable[..., Said], tmp_path: Path
) -> None:
    """A folder is read without any."""
    assert bundlerun("context", "default").code == 0
    assert bundlerun("remote", "default", f"file://{tmp_path}/remote").code == 0
    said = bundlerun("run", "--use-aws-session-token", "900", "-", "out", "pkg.m.Pipe")
    assert said.code == 2
    assert "leave out --use-aws-session-token" in said.err


def test_a_limit_and_none_exclude_each_other(bundlerun: Callable[..., Said]) -> None:
    """``--no-timeout`` is for a limit of the settings."""
    said = bundlerun("run", "--timeout-s", "5", "--no-timeout", "-", "out", "a.b.C")
    assert (said.code, said.out) == (2, "")
    assert "leave out one" in said.err
