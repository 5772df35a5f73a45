"""The wheel: built from the tree, installed where nothing else is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_installs_in_a_clean_environment(tmp_path: Path) -> None:
    """Typed, licensed, with its command; and it works with what it declares alone."""
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("bundlerun-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "bundlerun/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "examples/")) for name in names)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([str(venv / "bin/pip"), "install", "-q", str(wheel)], check=True)
    script = (
        "bundlerun add x $0 --commit && bundlerun ls && bundlerun cat x"
        " && bundlerun apply - out pkgpipe.One && bundlerun lineage out"
    )
    (tmp_path / "pkgpipe.py").write_text(
        "import bundlerun as br\n"
        "class One(br.Pipe):\n"
        "    def pipe_run(self, pipeline_input):\n"
        "        return 1\n"
    )
    done = subprocess.run(
        ["bash", "-ec", script, str(tmp_path / "pkgpipe.py")],
        cwd=tmp_path,
        env={"PATH": f"{venv / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pkgpipe.One" in done.stdout
