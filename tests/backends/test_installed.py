"""Backends that other distributions bring, by entry points."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import registry
from bundlerun.backends.base import ImageAt
from bundlerun.backends.open import backend_type, open_backend, traits_of
from bundlerun.connections import Connections
from bundlerun.errors import SettingsError, UsageError
from bundlerun.settings import read_settings
from tests.backends.harness import bring

OURS = "Processes = tests.backends.processes:Processes"


def site(folder: Path, monkeypatch: pytest.MonkeyPatch, *entry_points: str) -> None:
    """A distribution with these entry points is installed."""
    bring(folder / "site", *entry_points)
    monkeypatch.syspath_prepend(str(folder / "site"))


def test_a_backend_of_another_distribution_is_opened_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its traits are read, and its own section of the settings file is."""
    with pytest.raises(UsageError, match="there are: Local, AWSBatch"):
        traits_of("Processes")
    site(tmp_path, monkeypatch, OURS)
    (tmp_path / "config.toml").write_text("[backends.Processes]\nfolders = 'x'\n")
    found = read_settings({"BUNDLERUN_HOME": str(tmp_path)})
    assert traits_of("Processes").image is ImageAt.NONE
    with pytest.raises(SettingsError, match=r"no key 'folders'; there are: folder"):
        open_backend("Processes", Connections(found))


def test_a_built_in_name_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed beside changes nothing of what is built in."""
    before = backend_type(registry.DEFAULT_BACKEND)
    site(tmp_path, monkeypatch, f"{registry.DEFAULT_BACKEND} = tests.backends.processes:Processes")
    assert backend_type(registry.DEFAULT_BACKEND) is before
    assert registry.installed_backends() == {}


def test_one_that_cannot_be_loaded_names_who_brought_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback of another's package is no answer; doctor goes on to the next."""
    site(tmp_path, monkeypatch, "Broken = nowhere.at_all:Broken", OURS)
    with pytest.raises(SettingsError, match="others-backends") as no:
        traits_of("Broken")
    assert no.value.hint == "pip install --upgrade others-backends"
    checks = {check.what: check for check in br.open(context="c").doctor()}
    assert checks["Broken"].ok is False
    assert checks["processes"].ok


def test_a_run_takes_the_name_of_an_installed_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limits are kept like those of any other."""
    site(tmp_path, monkeypatch, OURS)
    with pytest.raises(UsageError, match="Processes repeats no job"):
        br.open(context="c").run(None, "out", "pkg.m.Pipe", backend="Processes", retries=1)
