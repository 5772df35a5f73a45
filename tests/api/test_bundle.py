"""A bundle in the caller's hand: its value, its parts, and how it looks."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import errors

LARGE = 3 << 20
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def here(tmp_path: Path) -> br.Workspace:
    """An empty workspace with a remote."""
    (tmp_path / "remote").mkdir()
    return br.open(store=tmp_path / "here", remote=f"file://{tmp_path}/remote")


def test_a_bundle_gives_its_value_and_parts_of_it(here: br.Workspace) -> None:
    """Of a dict, a list, and of what has its own way to be indexed."""
    made = here.add("x", {"a": [1, 2], "b": {"c": "d"}})
    assert made.value == {"a": [1, 2], "b": {"c": "d"}}
    assert made["a"] == [1, 2]
    assert made["b"] == {"c": "d"}
    assert list(made) == ["a", "b"]
    assert "a" in made
    assert made.view["b"]["c"] == "d"
    with pytest.raises(KeyError):
        made["nothing"]
    rows = here.add("rows", [10, [20]])
    assert rows[1] == [20]
    assert list(rows) == [10, [20]]
    assert here.add("text", "word")[0] == "w"
    assert here.add("empty", {}), "a bundle is there, whatever its value is"


def test_each_verb_that_gives_bundles_gives_such(here: br.Workspace) -> None:
    """With where each stands among the versions."""
    here.add("x", {"a": 1})
    (scratch,) = here.ls("x")
    assert (scratch.state, scratch["a"]) == ("scratch", 1)
    assert here.commit("x").state == "committed"
    here.push("x")
    found = here.find("x")
    assert found is not None
    assert (found.state, found.version, found.pushed) == ("pushed as 1", 1, True)
    tagged = here.tag(found, {"k": "v"})
    assert (tagged["a"], found.tags, here.find(found)) == (1, {}, tagged)
    assert here.pull("x")[0].value == {"a": 1}
    assert here.get(found) == {"a": 1}
    assert here.cat(found)["count"] == 1
    assert here.lineage(found).name == "x"
    assert here.rm(found)[0].id == found.id
    assert here.ls() == []


def test_a_value_is_read_when_it_is_asked_for(here: br.Workspace, tmp_path: Path) -> None:
    """On another machine: a look at a bundle brings nothing, a part only that part."""
    here.add("x", {"small": "s" * 5000, "large": os.urandom(LARGE)}, commit=True)
    here.push("x")
    there = br.open(store=tmp_path / "there", remote=f"file://{tmp_path}/remote")
    (bundle,) = there.pull("x")

    def absent() -> list[int]:
        return sorted(link.size for link in there.scope.store.absent(bundle.root))

    untouched = absent()
    assert "not on this disk" in bundle._repr_html_()
    assert repr(bundle)
    assert absent() == untouched
    assert bundle["small"] == "s" * 5000
    assert absent() == [LARGE], "the larger one stays away"


def test_what_was_removed_has_no_value(here: br.Workspace) -> None:
    """Though its bytes may lie there for a while."""
    made = here.add("x", 1)
    here.rm("x")
    with pytest.raises(errors.BundleNotFound):
        _ = made.value


def test_a_bundle_stays_that_of_its_context(here: br.Workspace) -> None:
    """Whatever is chosen later."""
    made = here.add("x", 1)
    here.context("other")
    here.switch("other")
    assert made.value == 1


def test_a_bundle_is_equal_to_its_record_and_travels_as_one(here: br.Workspace) -> None:
    """A part of another value, a key, a copy, and a pickle."""
    made, other = here.add("x", [1]), here.add("x", [1])
    assert made == here.find(f"x@{made.id}")
    assert made != other
    assert made == made.record
    assert made.record == made
    assert len({made, here.find(f"x@{made.id}"), other}) == 2
    assert copy.deepcopy(made).value == [1]
    kept = here.add("report", {"of": made})
    assert kept["of"] == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_repr_is_one_line(here: br.Workspace) -> None:
    """With what a person asks first."""
    made = here.add("x", "\n".join("abc"), tags={"k": "v"}, commit=True)
    assert repr(made) == f"<Bundle x@{made.id[:18]}, committed>"
    shown = made._repr_html_()
    assert "k:v" in shown
    assert "committed" in shown
    assert "str" in shown


def test_nothing_of_a_bundle_is_markup(here: br.Workspace, tmp_path: Path) -> None:
    """Names, tags and values are shown as they are written, never obeyed."""
    old = here.add(EVIL, {EVIL: EVIL, "list": [EVIL]}, tags={EVIL: EVIL})
    new = here.add(EVIL, {EVIL: "other"}, tags={EVIL: EVIL})
    shown = [old._repr_html_(), here.diff(old, new)._repr_html_(), here.lineage(old)._repr_html_()]
    for each in shown:
        assert "<script" not in each
        assert "&lt;script&gt;" in each


def test_a_pipe_reads_no_bundle_that_it_was_not_given(
    here: br.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has one in its hand: it would be an input that stands in no key."""
    (tmp_path / "handpipes.py").write_text(
        "import bundlerun as br\n"
        "HELD = []\n"
        "class Reads(br.Pipe):\n"
        "    def pipe_run(self, pipeline_input):\n"
        "        return HELD[0].value\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BUNDLERUN_STORE", str(tmp_path / "own"))
    own = br.open()
    handpipes = importlib.import_module("handpipes")
    handpipes.HELD.append(own.add("held", 1))
    with pytest.raises(errors.UserError, match="BundleNotFound"):
        own.apply(None, "out", "handpipes.Reads", pipe_root=tmp_path)
    assert own.get(own.apply("held", "out", "handpipes.Reads", pipe_root=tmp_path)) == 1


def test_a_run_shows_itself(tmp_path: Path) -> None:
    """A record of one, with nothing as markup."""
    record = br.RunRecord("0190", "Local", EVIL, "out", "id", None, "file:///x")
    assert "&lt;script&gt;" in record._repr_html_()
    assert "<script" not in record._repr_html_()
