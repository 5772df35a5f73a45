"""A function mapped over items by jobs that are processes: everything but containers is real."""

from __future__ import annotations

import concurrent.futures
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.progress import Lines
from tests.runs.calls.conftest import Lab

pytestmark = pytest.mark.heavy


@pytest.fixture
def mapped(lab: Lab) -> Callable[..., Any]:
    """``br.map`` on processes."""
    return lambda func, *items, **options: br.map(func, *items, backend="Processes", **options)


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the shell."""
    command = [sys.executable, "-m", "bundlerun", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_results_come_in_the_order_of_the_items(mapped: Callable[..., Any]) -> None:
    """As ``map`` gives them, from a generator, with a lambda of the test's own; and the run is
    known to the verbs on runs."""
    run = mapped(lambda x: x * 2, (x for x in range(12)))
    assert list(run.results(60)) == [x * 2 for x in range(12)]
    assert run.output is None
    (record,) = br.jobs(run.run_id)
    assert (record.state.value, record.items, record.settled) == ("succeeded", 12, True)
    assert dict(record.tally) == {"succeeded": 12}
    assert br.wait(run.run_id).output is None
    again = br.attach(run.run_id)
    assert list(again.results(60)) == list(run.results())


def test_a_function_of_the_project_comes_with_its_modules(mapped: Callable[..., Any]) -> None:
    """Those too that it imports only when it is called; ``kwargs`` and several iterables."""
    from lab import model

    assert list(mapped(model.slow_in, [1, 2]).results(60)) == [101, 102]
    run = mapped(model.plus, [1, 2, 3], (10, 20), kwargs={"c": 100})
    assert list(run.results(60)) == [111, 122]
    stars = br.starmap(model.plus, [(1, 2), [3, 4, 5]], backend="Processes")
    assert list(stars.results(60)) == [3, 12]
    assert list(mapped(model.nothing, [1]).results(60)) == [None]


def test_a_large_data_file_that_stays_behind_is_named(lab: Lab) -> None:
    """Data of over 1 MiB is no source: a bundle holds it."""
    (lab.path / "project/lab/huge.csv").write_text("1" * (2 << 20))
    from lab import model

    lines: list[str] = []
    workspace = br.open()
    workspace.progress = Lines(lines.append)
    run = workspace.map(model.double, [1], backend="Processes")
    assert list(run.results(60)) == [2]
    told = [line for line in lines if "left out" in line]
    assert told == ["left out of what lab.model.double takes along: lab/huge.csv (2.0 MiB)"]


def test_no_items_are_a_run_that_is_done_at_once(mapped: Callable[..., Any]) -> None:
    """It is settled before it is handed out; as a bundle it is an empty list."""
    for _ in mapped(abs, []):
        pass
    assert [record.settled for record in br.jobs()] == [True]
    run = mapped(abs, [], output="none")
    assert (len(run), list(run.results())) == (0, [])
    assert run.output.value == []
    (record,) = br.jobs(run.run_id)
    assert (record.state.value, record.settled) == ("succeeded", True)
    assert list(br.attach(run.run_id)) == []
    with pytest.raises(errors.RunNotFound):
        br.attach("01a1ffff-0000-7000-8000-000000000000")


def test_an_item_that_fails_fails_alone(mapped: Callable[..., Any]) -> None:
    """By an exception, which comes back as itself, or by whatever it did to its process."""
    from lab import model

    run = mapped(model.leaves, range(5), chunksize=5)
    ends = list(run.results(60, return_exceptions=True))
    assert (ends[0], ends[4]) == (0, 4)
    assert [type(error) for error in ends[1:4]] == [
        errors.ItemFailed,
        errors.UserError,
        errors.UserError,
    ]
    failing = mapped(model.raises, [7])
    with pytest.raises(model.Stranger) as raised:
        failing[0].result(60)
    assert raised.value.two == 7
    assert "Remote" in type(raised.value.__cause__).__name__
    with pytest.raises(errors.UserError, match="1 of 1 items failed"):
        br.wait(failing.run_id)
    (record,) = br.jobs(failing.run_id)
    assert (record.state.value, record.failure) == ("failed", "UserError")


def test_results_become_one_bundle_with_its_lineage(mapped: Callable[..., Any]) -> None:
    """A list in the order of the items, pushed; the bundles among the items are its parents."""
    from lab import model

    given = br.add("given", 5, commit=True)
    run = mapped(model.nothing, [given, 3], output="made", tags={"by": "map"})
    bundle = run.output if not run.results(60) else (list(run.results(60)), run.output)[1]
    assert (bundle.value, bundle.tags, bundle.committed) == ([None, None], {"by": "map"}, True)
    lineage = bundle.lineage
    assert (lineage.pipe, lineage.run) == ("lab.model.nothing", run.run_id)
    assert [parent.id for parent in lineage.parents] == [given.id]
    assert bundle.version == 1
    assert br.wait(run.run_id).output == bundle


def test_a_run_ends_with_its_last_item_whoever_looks_whenever(mapped: Callable[..., Any]) -> None:
    """What it took is the time of its items, not the time until a program settled it."""
    run = mapped(abs, [1, -2], output="positive")
    assert list(run.results(60)) == [1, 2]
    made = run.output.lineage
    (record,) = br.jobs(run.run_id)
    assert (record.started_s, record.finished_s) == (made.started_s, made.finished_s)


def test_the_log_of_an_item_ends_with_what_it_raised(mapped: Callable[..., Any]) -> None:
    """An error names that log, so it says more than what was printed; of an item that ended its
    process it has the reason."""
    from lab import model

    raised = mapped(model.fails, [1, 2])
    left = mapped(model.leaves, [2])
    concurrent.futures.wait([*raised, *left], 60)
    assert cli("logs", f"{raised.run_id}:0").stdout == ""
    assert cli("logs", f"{raised.run_id}:1").stdout.endswith("ValueError: not 2\n")
    assert "[1] ValueError: not 2\n" in cli("logs", raised.run_id).stdout
    assert "exit code 4" in cli("logs", f"{left.run_id}:0").stdout


def test_no_bundle_is_made_where_an_item_failed(mapped: Callable[..., Any]) -> None:
    """The output says why there is none."""
    from lab import model

    run = mapped(model.fails, range(4), output="made")
    concurrent.futures.wait(run, 60)
    with pytest.raises(errors.Conflict, match="1 failed"):
        _ = run.output
    assert br.find("made") is None


def test_an_iterable_that_raises_in_the_middle_submits_nothing(
    lab: Lab, mapped: Callable[..., Any]
) -> None:
    """And leaves nothing on the remote."""

    def items() -> Any:
        yield from range(5)
        raise LookupError("no more")

    with pytest.raises(LookupError):
        mapped(abs, items())
    assert br.jobs() == []
    assert not [path for path in (lab.remote / "runs").rglob("*") if path.is_file()]


def test_another_remote_at_the_address_gets_nothing(lab: Lab, mapped: Callable[..., Any]) -> None:
    """Said at the start, not when the results are to become a bundle; nothing is written there."""
    shutil.rmtree(lab.remote)
    lab.remote.mkdir()
    with pytest.raises(errors.RemoteChanged, match="--rebind"):
        mapped(abs, [1, 2], output="positive")
    assert list(lab.remote.iterdir()) == []
    assert br.jobs() == []


def test_a_run_that_is_cancelled_ends_its_jobs(mapped: Callable[..., Any]) -> None:
    """Every open item is cancelled, and the run is known as that."""
    from lab import model

    run = mapped(model.sleeps, [600, 600])
    assert run.cancel()
    assert all(future.cancelled() for future in run)
    with pytest.raises(errors.Cancelled):
        br.wait(run.run_id)
    (record,) = br.jobs(run.run_id)
    assert (record.state.value, dict(record.tally)) == ("cancelled", {"cancelled": 2})


def test_the_command_line_knows_maps(mapped: Callable[..., Any]) -> None:
    """It waits for, shows, ends them, and prints what one item wrote."""
    from lab import model

    run = mapped(model.says, range(3))
    waited = cli("wait", run.run_id[:13])
    assert (waited.returncode, "3 items succeeded" in waited.stdout) == (0, True), waited
    shown = cli("jobs", run.run_id[:13]).stdout
    assert "3: 3 succeeded" in shown, shown
    assert "lab.model.says" in cli("jobs").stdout
    said = cli("logs", f"{run.run_id[:13]}:1")
    assert said.stdout.split("\n")[:2] == ["out 1", "err 1"], said
    assert "[2] out 2" in cli("logs", run.run_id[:13]).stdout
    refused = cli("logs", f"{run.run_id[:13]}:7")
    assert (refused.returncode, "3 items" in refused.stderr) == (2, True)
    for verb in ("cancel", "wait", "jobs"):
        refused = cli(verb, f"{run.run_id[:13]}:1")
        assert (refused.returncode, "takes a whole run" in refused.stderr) == (2, True), refused
    long = mapped(model.sleeps, [600])
    assert cli("cancel", long.run_id[:13]).returncode == 0
    assert cli("wait", long.run_id[:13]).returncode == errors.Cancelled.exit_code


def test_the_key_of_a_run_is_shown_nowhere(lab: Lab, mapped: Callable[..., Any]) -> None:
    """It stands in the journal, and in no listing, record or file of the remote."""
    run = mapped(abs, [1])
    assert list(run.results(60)) == [1]
    workspace = br.open()
    row = workspace.scope.store.journal.get(workspace.scope.context(), run.run_id).run
    key = row["key"]
    assert len(key) == 64
    (record,) = br.jobs(run.run_id)
    shown = [repr(record), record._repr_html_(), str(record.facts()), str(record.to_json())]
    shown += [cli("jobs", "--json").stdout, cli("jobs", run.run_id, "--json").stdout]
    assert [text for text in shown if key in text] == []
    for path in lab.remote.rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes()


def test_an_executor_sends_its_function_once(lab: Lab) -> None:
    """Each submit is a run of its own, of which the first has the function."""
    from lab import model

    with br.Executor(backend="Processes") as executor:
        futures = [executor.submit(model.plus, n, 1) for n in range(3)]
        assert [future.result(60) for future in futures] == [1, 2, 3]
        assert list(executor.map(model.double, [1, 2], timeout=60)) == [2, 4]
    assert len(list(lab.remote.glob("runs/*/f"))) == 2


def test_a_remote_with_maps_is_sound_and_keeps_what_they_need(
    lab: Lab, mapped: Callable[..., Any]
) -> None:
    """Proof and clean-up find nothing to complain of; packs of items and results stay, which no
    bundle names, and come to another store."""
    from lab import model

    large = b"x" * 300_000
    run = mapped(model.sized, [large, large + b"y"])
    assert [bytes(each) for each in run.results(60)] == [large * 2, (large + b"y") * 2]
    assert run.output is None
    assert list((lab.remote / "packs").iterdir())
    assert not br.fsck(remote=True).findings
    report = br.gc(remote=True, delete=True)
    assert (report.count, report.condemned) == (0, None)
    other = br.open(lab.path / "other", remote=f"file://{lab.remote}", context="work")
    found = list(other.attach(run.run_id).results(60))
    assert [len(each) for each in found] == [600_000, 600_002]
    other.close()
