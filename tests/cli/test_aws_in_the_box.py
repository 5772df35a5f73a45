"""What ``bundlerun aws up`` makes carries a run: in the sandbox, with a real container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundlerun.sandbox import server

PIPE = """
import bundlerun as br


class Total(br.Pipe):
    def pipe_run(self, pipeline_input):
        print("adding", len(pipeline_input))
        return sum(pipeline_input)
"""

RUN = """
eval "$(bundlerun sandbox up)"
bundlerun aws up lab --memory-mib 512 --save
unset BUNDLERUN_AWS_BATCH_QUEUE
python -c 'import bundlerun as br; br.add("numbers", [1, 2, 3], commit=True)'
bundlerun dockerize . lab.report.Total
bundlerun run --backend AWSBatch --wait numbers total lab.report.Total
bundlerun logs "$(python -c 'import bundlerun as br; print(br.jobs()[0].run_id)')"
python -c 'import bundlerun as br; assert br.get("total") == 6'
bundlerun aws status lab --json >status.json
bundlerun aws down lab --pars default --repository --bucket --yes
bundlerun aws status --json >after.json
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """The folder of the settings; the sandbox of the test is ended."""
    path = Path(os.environ["BUNDLERUN_HOME"])
    yield path
    server.down(path / "sandbox")


@pytest.mark.slow
def test_a_run_goes_where_the_saved_settings_lead(
    home: Path, tmp_path: Path, base_image: str
) -> None:
    """Its job was the Knot's, its remote the Pars's bucket, which it was bound to by itself."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("")
    (tmp_path / "lab" / "report.py").write_text(PIPE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", RUN],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "BUNDLERUN_BASE_IMAGE": base_image},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n---\n{done.stderr}"
    assert "adding 3" in done.stdout, "the log of the Knot's own group"
    (knot,) = json.loads((tmp_path / "status.json").read_text())["knots"]
    assert knot["queue"]["name"] == "bundlerun-lab"
    assert knot["jobs"] == {"SUCCEEDED": 1}
    assert "is bound to s3://br-default-" in done.stderr
    assert "deleted the bucket br-default-" in done.stdout
    after = json.loads((tmp_path / "after.json").read_text())
    assert (after["pars"], after["knots"]) == ([], [])
    assert "remains" not in done.stdout
