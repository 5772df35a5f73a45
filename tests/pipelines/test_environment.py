"""What counts as this machine's environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bundlerun.pipelines.environment import local_environment


def test_an_installed_distribution_changes_the_environment_and_a_restart_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name and version; bundlerun itself and pip do not count, nor does the user's folder."""
    site = tmp_path / "site-packages"
    site.mkdir()
    before = local_environment()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path, str(site)])
    assert local_environment() == before
    (site / "bundlerun-9.dist-info").mkdir()
    (site / "pip-9.dist-info").mkdir()
    (tmp_path / "mine-1.dist-info").mkdir()
    assert local_environment() == before
    (site / "some_new_thing-1.0.dist-info").mkdir()
    first = local_environment()
    assert first != before
    (site / "some_new_thing-1.0.dist-info").rename(site / "some_new_thing-1.1.dist-info")
    assert local_environment() not in (before, first)
    (site / "some_new_thing-1.1.dist-info").rmdir()
    assert local_environment() == before


def test_an_egg_without_a_version_in_its_name_has_it_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As older installers write it."""
    site = tmp_path / "site-packages"
    egg = site / "old.egg-info"
    egg.mkdir(parents=True)
    (egg / "PKG-INFO").write_text("Name: old\nVersion: 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    first = local_environment()
    (egg / "PKG-INFO").write_text("Name: old\nVersion: 2\n")
    (site / "touch").mkdir()
    assert local_environment() != first


def test_python_and_platform_are_named() -> None:
    """So that a miss can be explained."""
    assert local_environment().startswith(f"python {sys.version_info[0]}.{sys.version_info[1]} ")
