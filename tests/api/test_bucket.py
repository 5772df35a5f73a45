"""The setting ``[run] bucket``: the remote of a context that has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bundlerun.api.workspace import Workspace
from bundlerun.errors import NoRemote, OtherRemote, RunNotFound, SettingsError, UsageError
from bundlerun.progress import Lines
from bundlerun.settings import read_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store without a remote, and the setting that names the folder "bucket"."""
    monkeypatch.setenv("BUNDLERUN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BUNDLERUN_BUCKET", f"file://{tmp_path}/bucket")
    return tmp_path


def workspace(lines: list[str] | None = None) -> Workspace:
    """One of the settings as they are, that says its lines to ``lines``."""
    made = Workspace(read_settings())
    if lines is not None:
        made.progress = Lines(lines.append)
    return made


def test_the_first_use_of_a_remote_binds_the_context(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a verb that needs none; it is said once, and another store finds what was pushed."""
    said: list[str] = []
    here = workspace(said)
    here.add("one", 1, commit=True)
    here.ls()
    here.jobs()
    assert not (home / "bucket").exists()
    assert here.scope.context().remote_url is None
    assert said == []

    here.push()
    assert here.scope.context().remote_url == f"file://{home}/bucket"
    told = f"the context 'default' is bound to file://{home}/bucket ([run] bucket)"
    assert [line for line in said if "bound" in line] == [told]
    here.pull()
    assert [line for line in said if "bound" in line] == [told]

    monkeypatch.setenv("BUNDLERUN_STORE", str(home / "other"))
    there = workspace()
    assert [bundle.name for bundle in there.pull("one")] == ["one"]
    assert there.get("one") == 1


def test_a_context_that_has_a_remote_keeps_it(home: Path) -> None:
    """The setting binds nothing else, and a bound context needs no setting."""
    here = workspace()
    here.remote("default", f"file://{home}/mine")
    here.add("one", 1, commit=True)
    here.push()
    assert here.scope.context().remote_url == f"file://{home}/mine"
    assert not (home / "bucket").exists()


def test_a_run_that_is_not_known_here_is_looked_for_there(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine on which nothing was done yet; without the setting there is nowhere else."""
    here = workspace()
    with pytest.raises(RunNotFound):
        here.logs("0198").__next__()
    assert here.scope.context().remote_url == f"file://{home}/bucket"
    monkeypatch.delenv("BUNDLERUN_BUCKET")
    monkeypatch.setenv("BUNDLERUN_STORE", str(home / "other"))
    other = workspace()
    with pytest.raises(RunNotFound, match="no remote to look in") as raised:
        other.cancel("0198")
    assert str(raised.value.hint).endswith("bundlerun remote default URL")
    with pytest.raises(NoRemote, match="default"):
        other.push()


def test_what_names_no_remote_is_refused_where_it_is_needed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the setting's name; local work goes on."""
    monkeypatch.setenv("BUNDLERUN_BUCKET", "..")
    here = workspace()
    here.add("one", 1, commit=True)
    with pytest.raises(
        SettingsError, match=r"\[run\] bucket: .*'\.\.' is not the name of a bucket"
    ):
        here.push()


def test_a_context_that_was_bound_elsewhere_wants_a_word(home: Path) -> None:
    """Its bundles' versions are those of another remote: it is not moved by a setting."""
    here = workspace()
    bound = here.remote("default", f"file://{home}/mine")
    here.scope.store.contexts.bind(bound, None, None)
    with pytest.raises(OtherRemote) as refused:
        here.push()
    assert refused.value.hint == f"bundlerun remote default file://{home}/bucket --rebind"


def test_doctor_says_what_will_be_bound_and_binds_nothing(home: Path) -> None:
    """A look is no use of a remote."""
    (check,) = [each for each in workspace().doctor() if each.what == "remote"]
    assert check.ok is None
    assert f"{home}/bucket" in check.detail
    assert not (home / "bucket").exists()


@pytest.mark.parametrize(
    "options", [{"env": {"BUNDLERUN_RUN": "1"}}, {"max_cost": 0.01, "timeout_s": 3600}]
)
def test_a_refused_map_binds_nothing(home: Path, options: dict[str, Any]) -> None:
    """What cannot be meant, or costs too much, is refused before anything is asked or written."""
    (home / "home").mkdir()
    (home / "home" / "config.toml").write_text("[run]\nprice_per_vcpu_hour = 1.0\n")
    settings = read_settings({**os.environ, "BUNDLERUN_HOME": str(home / "home")})
    with pytest.raises(UsageError):
        Workspace(settings).map(abs, [1, 2], **options)
    assert not (home / "bucket").exists()


@pytest.mark.parametrize("form", ["{}/lab", "s3://{}/lab"])
def test_a_bucket_is_named_with_or_without_the_scheme(
    form: str,
    s3_bucket: str,
    s3_env: dict[str, str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a shell, which shows the line."""
    monkeypatch.setenv("BUNDLERUN_BUCKET", form.format(s3_bucket))
    workspace().add("one", 1, commit=True)
    command = [sys.executable, "-m", "bundlerun", "push"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    line = f"the context 'default' is bound to s3://{s3_bucket}/lab ([run] bucket)"
    assert line in done.stderr.splitlines()
