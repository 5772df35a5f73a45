"""The installed bundlerun as a wheel."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bundlerun.images.wheel import repack

AGAIN = """
import pathlib, sys
import bundlerun
from bundlerun.images.wheel import repack
assert bundlerun.__file__.startswith(sys.argv[1]), bundlerun.__file__
wheel = repack()
pathlib.Path(sys.argv[2]).write_bytes(wheel.data)
print(wheel.filename, *wheel.requires, sep="|")
"""


def test_the_same_installation_gives_the_same_bytes() -> None:
    """The layer with bundlerun is not built again."""
    assert repack() == repack()


def test_it_holds_the_code_and_no_litter() -> None:
    """Typed, with its command, and nothing that Python left behind."""
    names = zipfile.ZipFile(io.BytesIO(repack().data)).namelist()
    assert {"bundlerun/errors.py", "bundlerun/py.typed", "bundlerun/images/wheel.py"} <= set(names)
    assert names == sorted(names)
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]


def test_it_requires_what_bundlerun_requires_without_extras() -> None:
    """pip resolves these beside the pipeline's own; extras are known by name."""
    wheel = repack()
    assert any(line.startswith("pyarrow") for line in wheel.requires)
    assert not any("extra" in line or line.startswith("pytest") for line in wheel.requires)
    (polars,) = wheel.extras["polars"]
    assert polars.startswith("polars>=")


@pytest.mark.heavy
def test_pip_installs_it_and_the_installed_one_repacks_to_the_same_bytes(tmp_path: Path) -> None:
    """An editable install and a normal one put the same bytes into an image."""
    wheel = repack()
    (tmp_path / wheel.filename).write_bytes(wheel.data)
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, target, tmp_path / wheel.filename], check=True, capture_output=True)
    second = subprocess.run(
        [sys.executable, "-c", AGAIN, str(target), str(tmp_path / "second.whl")],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert second.stdout.strip().split("|") == [wheel.filename, *wheel.requires]
    assert (tmp_path / "second.whl").read_bytes() == wheel.data
    assert (target / "bin" / "bundlerun").exists()


def test_an_extra_s_requirement_keeps_its_other_condition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the tool that built the package writes it, and one of two extras."""
    about = tmp_path / "bundlerun-9.dist-info"
    about.mkdir()
    requires = [
        "always>=1",
        "old; python_version < '3.11'",
        'first; extra == "x"',
        'second>=2; extra == "x" and python_version < "3.11"',
        "third; (sys_platform == 'linux' or os_name == 'nt') and extra == 'x'",
        'fourth; extra == "x" or extra == "y"',
        "fifth; 'y' == extra and python_version < '3.11'",
    ]
    lines = ["Metadata-Version: 2.1", "Name: bundlerun", "Version: 9"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    (about / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    wheel = repack()
    assert wheel.requires == ("always>=1", "old; python_version < '3.11'")
    assert set(wheel.extras) == {"x", "y"}
    asked = {extra: [Requirement(line) for line in wheel.extras[extra]] for extra in wheel.extras}
    old, new = {"python_version": "3.10"}, {"python_version": "3.12"}

    def names(extra: str, where: dict[str, str]) -> set[str]:
        where = {"sys_platform": "linux", **where}
        return {
            each.name for each in asked[extra] if each.marker is None or each.marker.evaluate(where)
        }

    assert names("x", old) == {"first", "second", "third", "fourth"}
    assert names("x", new) == {"first", "third", "fourth"}
    assert names("y", old) == {"fourth", "fifth"}
    assert names("y", new) == {"fourth"}
    assert "first" in wheel.extras["x"]
