"""Is a pipe deterministic? Two runs of the same work, compared pipe by pipe."""

from __future__ import annotations

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import Lineage, Parent
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.cli.main import run_cli
from bundlerun.runs.verify import where_two_makings_part
from tests.runs.conftest import Place


def made(name: str, value: str, **parents: BundleRecord) -> BundleRecord:
    """A bundle of this value, made of others."""
    went_in = [Parent(role, b.name, b.id, b.root.digest) for role, b in parents.items()]
    lineage = Lineage(pipe=f"pkg.{name}", parents=tuple(went_in))
    return BundleRecord(new_id(), name, Link(digest_of(value.encode()), 1), lineage=lineage)


def parted(first: BundleRecord, second: BundleRecord, *known: BundleRecord) -> list[str]:
    """The names of those that differ although nothing that went in does."""
    found = {bundle.id: bundle for bundle in known}
    pairs = where_two_makings_part(first, second, lambda parent: found.get(parent.id))
    return sorted(new.name for _, new in pairs)


def test_equal_values_part_nowhere() -> None:
    """Whatever their ids are."""
    assert parted(made("Top", "same"), made("Top", "same")) == []


def test_the_pipe_over_equal_inputs_is_the_one() -> None:
    """What only passes another's difference on is not named."""
    same = made("Same", "s")
    noise = made("Noise", "1", input=same), made("Noise", "2", input=same)
    middle = [made("Middle", n.root.digest, noise=n, same=same) for n in noise]
    top = [made("Top", m.root.digest, middle=m) for m in middle]
    assert parted(*top, same, *noise, *middle) == ["Noise"]


def test_several_are_all_named_once() -> None:
    """Two sources of noise, one of them used twice."""
    a, b = [made("A", v) for v in "12"], [made("B", v) for v in "34"]
    top = [made("Top", v, a=x, again=x, b=y) for v, x, y in zip("56", a, b, strict=True)]
    assert parted(*top, *a, *b) == ["A", "B"]


def test_an_ancestor_of_which_only_the_mention_is_left_is_named_itself() -> None:
    """It cannot be looked into."""
    lost = made("Lost", "1"), made("Lost", "2")
    assert parted(made("Top", "x", lost=lost[0]), made("Top", "y", lost=lost[1])) == ["Lost"]


def test_verify_names_the_pipe_that_is_not_deterministic(
    local_file: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two jobs; exit code 20 and the pipe's name, or a word that both made the same."""
    ws = local_file.workspace
    ws.add("numbers", [1, 2], commit=True)
    context = ws.scope.context().name
    command = ["-c", context, "run", "--verify", "numbers"]
    assert run_cli([*command, "noisy", "jobs.pipes.Noisy"]) == errors.NotDeterministic.exit_code
    said = capfd.readouterr()
    assert "jobs.pipes.Noise is not deterministic: equal inputs made different values" in said.err
    assert run_cli([*command, "doubled", "jobs.pipes.Double"]) == 0
    assert "verified: a second run made the same value" in capfd.readouterr().out
    assert len(ws.jobs()) == 4
    # What is there already is verified by one more run.
    assert run_cli([*command, "doubled", "jobs.pipes.Double"]) == 0
    assert len(ws.jobs()) == 5


def test_verify_needs_both_results(capfd: pytest.CaptureFixture[str]) -> None:
    """Without waiting there is nothing to compare."""
    assert run_cli(["run", "--verify", "--no-wait", "-", "out", "pkg.module.Pipe"]) == 2
    assert "--verify needs the result of both runs" in capfd.readouterr().err


def test_verify_of_two_bundles_says_where_they_differ(tmp_path: object) -> None:
    """From Python: equal values pass, others raise with what differs."""
    ws = br.open(store=f"{tmp_path}/store", context="work")
    one, same, other = (ws.add("x", value) for value in ([1, 2], [1, 2], [1, 3]))
    ws.verify(one, same)
    with pytest.raises(errors.NotDeterministic, match="x is not deterministic") as raised:
        ws.verify(one, other)
    assert other.id in raised.value.evidence
