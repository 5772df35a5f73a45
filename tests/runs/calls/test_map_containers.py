"""Maps in real containers: of the local engine, and of AWS Batch as the sandbox serves it."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.connections import Connections
from bundlerun.sandbox.contents import QUEUE, furnish
from bundlerun.settings import read_settings
from tests.images.conftest import remove_images
from tests.runs.calls.conftest import MODEL, forget_lab
from tests.runs.conftest import cancel_all
from tests.services import S3Server

pytestmark = pytest.mark.slow

LONG_S = 300

EXAMPLE = Path(__file__).parents[3] / "examples" / "map_fits.py"
KNOT_EXAMPLE = EXAMPLE.with_name("knot_mv_prod.py")


@dataclass(frozen=True)
class Place:
    """Where items run."""

    workspace: br.Workspace
    backend: str

    def map(self, func: Any, *items: Any, **options: Any) -> Any:
        """A map there."""
        return self.workspace.map(func, *items, **{"backend": self.backend, **options})


@pytest.fixture
def images(
    engine: Any, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The prefix of this test's images, which go with it; and a project to work in."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("BUNDLERUN_REPOSITORY_PREFIX", prefix)
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    project = tmp_path / "project"
    (project / "lab").mkdir(parents=True)
    (project / "lab" / "__init__.py").touch()
    (project / "lab" / "model.py").write_text(textwrap.dedent(MODEL))
    (project / "lab" / "late.py").write_text("def value():\n    return 100\n")
    (project / "requirements.txt").touch()
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.chdir(project)
    forget_lab()
    yield prefix
    forget_lab()
    remove_images(engine, prefix)


@pytest.fixture
def local_file(images: str, tmp_path: Path) -> Iterator[Place]:
    """The local engine, a folder as the remote."""
    (tmp_path / "remote").mkdir()
    workspace = br.open(tmp_path / "store", f"file://{tmp_path}/remote", "work")
    yield Place(workspace, "Local")
    cancel_all(workspace)


@pytest.fixture
def local_s3(
    images: str, tmp_path: Path, s3_env: dict[str, str], s3_bucket: str
) -> Iterator[Place]:
    """The local engine, a real S3 server as the remote."""
    workspace = br.open(tmp_path / "store", f"s3://{s3_bucket}/data", "work")
    yield Place(workspace, "Local")
    cancel_all(workspace)


@pytest.fixture
def batch_s3(
    images: str,
    tmp_path: Path,
    s3_env: dict[str, str],
    s3_server: S3Server,
    s3_bucket: str,
    moto_server: str,
    registry: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """AWS Batch, a real S3 server, and credentials that are narrowed to the remote's prefix."""
    furnish(moto_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    monkeypatch.setenv("BUNDLERUN_AWS_BATCH_QUEUE", QUEUE)
    monkeypatch.setenv("BUNDLERUN_REGISTRY", registry)
    monkeypatch.setenv("BUNDLERUN_SESSION_ROLE_ARN", s3_server.role_arn)
    monkeypatch.setenv("BUNDLERUN_SESSION_SECONDS", "3600")
    workspace = br.open(tmp_path / "store", f"s3://{s3_bucket}/data", "work")
    yield Place(workspace, "AWSBatch")
    cancel_all(workspace)


@pytest.fixture(params=["local_file", "local_s3", "batch_s3"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each place in turn."""
    found: Place = request.getfixturevalue(request.param)
    return found


def test_a_map_brings_results_failures_and_a_bundle_home(place: Place) -> None:
    """Modules of the project, exceptions as themselves, what an item does to its process, what no
    pickle takes, None; of a closure files among the results; the results as a bundle."""
    from lab import model

    run = place.map(model.slow_in, range(3), output="made", tags={"by": "map"})
    assert list(run.results(LONG_S)) == [100, 101, 102]
    bundle = run.output
    assert (bundle.value, bundle.version, bundle.lineage.pipe) == (
        [100, 101, 102],
        1,
        "lab.model.slow_in",
    )
    assert bundle.lineage.image
    run = place.map(model.leaves, range(8), chunksize=4)
    ends = list(run.results(LONG_S, return_exceptions=True))
    assert (ends[0], ends[4], ends[7]) == (0, 4, None)
    assert [type(each) for each in ends[2:4]] == [errors.UserError] * 2
    assert [type(ends[index]) for index in (1, 5, 6)] == [errors.ItemFailed] * 3
    run = place.map(model.writing("file"), [1, 2], chunksize=2)
    first, second = (file.path.read_text() for file in run.results(LONG_S))
    assert (first, second) == ("file 1" * 100_000, "file 2" * 100_000)
    assert run.output is None
    (record,) = place.workspace.jobs(run.run_id)
    assert (record.state.value, record.settled) == ("succeeded", True)


def test_a_map_is_cancelled_and_limits_end_items_alone(place: Place) -> None:
    """A limit of two seconds holds wherever the least limit of a job is a minute; what needs more
    memory than its job has goes again with twice as much, and fails alone."""
    from lab import model

    run = place.map(model.sleeps, [0, 60, 0.1], timeout_s=2, chunksize=3)
    ends = list(run.results(LONG_S, return_exceptions=True))
    assert (ends[0], type(ends[1]), ends[2]) == (0, errors.TimedOut, 0.1)
    full = place.map(
        model.Fills(bytes(1 << 20)), [1, 400, 900], memory_mib=300, chunksize=3, memory_factor=2
    )
    ends = list(full.results(LONG_S, return_exceptions=True))
    assert (ends[0], ends[1], type(ends[2])) == (1, 400, errors.OutOfMemory)
    assert [future.attempts for future in full] == [1, 2, 2]
    long = place.map(model.sleeps, [600, 600], chunksize=1)
    long.cancel()
    with pytest.raises(errors.Cancelled):
        place.workspace.wait(long.run_id)


@pytest.mark.parametrize("where", ["local_file", "batch_s3"])
def test_the_example_fits_here_and_on_aws_batch(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """As a program of a user's, with numpy in its image."""
    place: Place = request.getfixturevalue(where)
    place.workspace.close()
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), place.backend],
        env={**os.environ, "BUNDLERUN_STORE": str(tmp_path / "store"), "BUNDLERUN_CONTEXT": "work"},
        capture_output=True,
        text=True,
        timeout=LONG_S,
    )
    assert done.returncode == 0, done
    assert "19: rate 2.0" in done.stdout
    assert len(place.workspace.get("fits")) == 20


def test_the_example_of_a_knot_maps_on_it_and_leaves_the_data_alone(
    batch_s3: Place, s3_bucket: str, tmp_path: Path
) -> None:
    """Made, mapped on with numpy in its image, shown and removed; the bucket was there before."""
    batch_s3.workspace.close()
    name = f"k-{uuid.uuid4().hex[:10]}"
    done = subprocess.run(
        [sys.executable, str(KNOT_EXAMPLE), name, f"{s3_bucket}/data"],
        env={**os.environ, "BUNDLERUN_STORE": str(tmp_path / "store"), "BUNDLERUN_CONTEXT": "work"},
        capture_output=True,
        text=True,
        timeout=LONG_S,
    )
    assert done.returncode == 0, done
    assert "100.00: " in done.stdout
    assert "succeeded  20: 20 succeeded" in done.stdout
    remains = [line for line in done.stdout.splitlines() if line.startswith("remains: ")]
    assert remains == [f"remains: {s3_bucket} (AWS::S3::Bucket): it was there before"]


def test_a_submit_asks_aws_few_questions(batch_s3: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Beside S3 and STS two in a process that has submitted before, whether there are 12 items or
    10,001 in two arrays, and five in a new one; of S3 twelve."""
    from lab import model

    # The image is published once, whatever is mapped.
    batch_s3.map(model.double, [1], requirements=[])[0].result(LONG_S)
    batch_s3.workspace.scope.connections = Connections(read_settings())

    def asked(count: int) -> tuple[list[str], list[str]]:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "botocore.endpoint"):
            run = batch_s3.map(model.double, range(count), requirements=[], chunksize=1)
        said = [record.getMessage() for record in caplog.records]
        main = [r.getMessage() for r in caplog.records if r.threadName == "MainThread"]
        run.cancel()
        of_s3 = [text for text in said if re.search(r"name=\w*(Object|Bucket|Upload)", text)]
        of_batch = [text for text in main if "Making request" in text and text not in of_s3]
        of_batch = [text for text in of_batch if "AssumeRole" not in text]
        return of_s3, of_batch

    for count, most in ((12, 5), (12, 2), (10_001, 2)):
        of_s3, others = asked(count)
        assert len(of_s3) <= 12, of_s3
        assert len(others) <= most, [text[:80] for text in others]


LAST_WORDS = """
import sys
import bundlerun as br
from lab import model

run = br.map(model.double, range(4), requirements=[])
print(list(run.results(300)), run.run_id)
"""


@pytest.mark.parametrize("where", ["local_file", "local_s3"])
def test_a_program_that_ends_behind_its_results_leaves_no_container(
    where: str, engine: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Nor a staging folder: the run is settled before the program is gone."""
    place: Place = request.getfixturevalue(where)
    done = subprocess.run(
        [sys.executable, "-c", LAST_WORDS],
        env={
            **os.environ,
            "BUNDLERUN_STORE": str(tmp_path / "store"),
            "BUNDLERUN_CONTEXT": "work",
            "PYTHONPATH": str(tmp_path / "project"),
        },
        capture_output=True,
        text=True,
        timeout=LONG_S,
    )
    assert done.returncode == 0, done
    run_id = done.stdout.split()[-1]
    names = [found.name for found in engine.containers.list(all=True, ignore_removed=True)]
    assert [name for name in names if run_id in name] == []
    assert not list((tmp_path / "store").glob(f"staging/{run_id}*"))
    assert place.backend == "Local"
