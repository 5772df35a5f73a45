"""The installed bundlerun as a wheel."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

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
    assert wheel.extras["polars"] == ("polars>=1",)


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
