"""The verbs for Python callers."""

from __future__ import annotations

import ast
import inspect
import pydoc
import threading
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors

PIPE = """
import bundlerun as br
import luigi

class Times(br.Pipe):
    by = luigi.IntParameter(default=2)
    def pipe_run(self, pipeline_input):
        return [value * self.by for value in pipeline_input]
"""


@pytest.fixture
def remote(tmp_path: Path) -> str:
    """A folder as a remote."""
    (tmp_path / "remote").mkdir()
    return f"file://{tmp_path / 'remote'}"


def test_verbs_work_without_home_context_or_config(
    tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function on a server passes a store path and a remote."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("BUNDLERUN_HOME")
    here = br.open(store=tmp_path / "store", remote=remote, context="lambda")
    here.add("x", {"a": (1, None)}, commit=True)
    here.push("x")
    there = br.open(store=tmp_path / "other", remote=remote)
    assert there.pull("x")[0].name == "x"
    assert there.get("x") == {"a": (1, None)}


def test_a_memory_map_of_a_path_changes_no_bundle(tmp_path: Path) -> None:
    """The usual way to work on a large array in place: other bundles of these bytes stay right,
    and so does what is added later."""
    import numpy as np

    (tmp_path / "w").write_bytes(bytes(400_000))
    here = br.open(store=tmp_path / "here")
    here.add("w", br.File(tmp_path / "w"), commit=True)
    path = here.get("w").path
    path.chmod(0o644)
    mapped = np.memmap(path, dtype="u1", mode="r+")
    mapped[:4] = 1
    mapped.flush()
    here.add("again", br.File(tmp_path / "w"), commit=True)
    for name in ("w", "again"):
        assert here.get(name).read_bytes() == bytes(400_000)
        assert here.get(name).path.read_bytes() == bytes(400_000)
    with here.get("w").open() as file:
        assert file.read(4) == bytes(4)


def test_a_setting_gives_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``[store] checkout = "link"``: no second set of bytes, as config.toml asks for it."""
    (tmp_path / "w").write_bytes(bytes(400_000))
    monkeypatch.setenv("BUNDLERUN_CHECKOUT", "link")
    here = br.open(store=tmp_path / "here")
    here.add("w", br.File(tmp_path / "w"))
    assert here.get("w").path.stat().st_nlink == 2


def test_bytes_come_when_they_are_touched(tmp_path: Path, remote: str) -> None:
    """A pull brings the record, get the value; a large file is brought when it is read."""
    (tmp_path / "big.bin").write_bytes(b"x" * 20_000_000)
    here = br.open(store=tmp_path / "here", remote=remote)
    here.add("x", {"file": br.File(tmp_path / "big.bin")}, commit=True)
    here.push("x")
    there = br.open(store=tmp_path / "there", remote=remote)
    bundle = there.pull("x")[0]
    assert there.scope.store.absent(bundle.root)
    value = there.get("x")
    assert len(there.scope.store.absent(bundle.root)) == 1
    assert value["file"].path.stat().st_size == 20_000_000
    assert there.scope.store.absent(bundle.root) == []


VERBS = sorted(
    name
    for name, value in vars(br.Workspace).items()
    if callable(value) and not name.startswith("_") and name != "close"
)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_of_the_module_is_the_workspace_s(name: str) -> None:
    """``br.add`` takes what ``Workspace.add`` takes, hands each argument on, and says the same of
    itself; help shows what a user types."""
    mine, shown = getattr(br.Workspace, name), getattr(br, name)
    signature, own = inspect.signature(shown), inspect.signature(mine)
    assert list(signature.parameters.values()) == list(own.parameters.values())[1:]
    assert signature.return_annotation == own.return_annotation
    assert shown.__doc__ is not None
    assert inspect.getdoc(shown) == inspect.getdoc(mine)
    line = pydoc.plain(pydoc.render_doc(shown)).splitlines()[2]
    assert line.startswith(f"{name}(")
    assert "self" not in line
    (function,) = ast.parse(inspect.getsource(shown)).body
    call = function.body[-1].value  # type: ignore[attr-defined]
    handed = [ast.unparse(given) for given in (*call.args, *call.keywords)]
    places = {
        inspect.Parameter.KEYWORD_ONLY: "{0}={0}",
        inspect.Parameter.VAR_POSITIONAL: "*{0}",
        inspect.Parameter.VAR_KEYWORD: "**{0}",
    }
    wanted = signature.parameters.values()
    assert handed == [places.get(each.kind, "{0}").format(each.name) for each in wanted]
    assert ast.unparse(call.func) == f"default().{name}"


def test_a_workspace_closes_its_store_and_is_usable_again(tmp_path: Path) -> None:
    """``with br.open(...) as ws``; what follows opens it again."""
    with br.open(store=tmp_path / "store") as here:
        here.add("x", 1)
        database = here.scope.store
    assert here.get("x") == 1
    assert here.scope.store is not database


def test_an_unknown_name_of_the_module_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="nonsense"):
        br.nonsense  # noqa: B018


def test_apply_takes_a_name_and_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class by its name below pipe_root; equal work is found."""
    (tmp_path / "apipipes.py").write_text(PIPE)
    monkeypatch.syspath_prepend(str(tmp_path))
    br.add("n", [1, 2])
    out = br.apply("n", "out", "apipipes.Times", {"by": 5}, pipe_root=tmp_path)
    assert br.get(out) == [5, 10]
    assert br.get("out") == [5, 10]
    again = br.apply("n", "out", "apipipes.Times", {"by": 5}, pipe_root=tmp_path)
    assert again.id == out.id
    assert out.lineage.parents[0].name == "n"
    tree = br.lineage("out")
    assert tree.known
    assert [parent.name for parent in tree.parents] == ["n"]


def test_lineage_keeps_the_mention_of_a_removed_ancestor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone is still named, with its digest."""
    (tmp_path / "morepipes.py").write_text(PIPE)
    monkeypatch.syspath_prepend(str(tmp_path))
    br.add("n", [1])
    br.apply("n", "out", "morepipes.Times", pipe_root=tmp_path)
    br.rm("n", all=True)
    (parent,) = br.lineage("out").parents
    assert (parent.name, parent.known) == ("n", False)


def test_only_committed_bundles_travel(remote: str) -> None:
    """push names the command that commits."""
    ws = br.open(remote=remote, context="c")
    ws.add("x", 1)
    with pytest.raises(errors.NotCommitted, match="bundlerun commit x"):
        ws.push("x")
    assert ws.push().bundles == ()


def test_another_version_is_pulled_by_its_id(tmp_path: Path, remote: str) -> None:
    """``name@id`` is that version, latest or not."""
    here = br.open(store=tmp_path / "here", remote=remote)
    old = here.add("x", "old", commit=True)
    here.add("x", "new", commit=True)
    here.push()
    there = br.open(store=tmp_path / "there", remote=remote)
    there.pull(f"x@{old.id}")
    assert there.get(f"x@{old.id}") == "old"
    assert [b.name for b in there.pull("x", all_versions=True)] == ["x", "x"]
    assert there.get("x") == "new"


def test_doctor_says_what_is_there_and_what_is_not(remote: str) -> None:
    """A remote that vanished is a failing check with its cure."""
    ws = br.open(remote=remote, context="c")
    checks = {check.what: check for check in ws.doctor()}
    assert checks["remote"].ok
    assert checks["remote write"].ok
    assert checks["credentials and queue"].ok is None
    import shutil

    shutil.rmtree(remote.removeprefix("file://"))
    checks = {check.what: check for check in ws.doctor()}
    assert checks["remote"].ok is False


def test_one_workspace_serves_threads() -> None:
    """Eight threads add to one name; no version is lost."""
    ws = br.open(context="threads")

    def add(number: int) -> None:
        for each in range(5):
            ws.add("x", [number, each], commit=True)

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ws.ls("x")) == 40


def test_a_push_of_everything_sends_tags_too(tmp_path: Path, remote: str) -> None:
    """Though every bundle is there already; once they are sent there is nothing left to send."""
    here = br.open(store=tmp_path / "here", remote=remote)
    here.add("x", 1, commit=True)
    here.push()
    here.tag("x", {"state": "checked"})
    here.push()
    there = br.open(store=tmp_path / "there", remote=remote)
    assert there.pull("x")[0].tags == {"state": "checked"}
    assert here.scope.store.catalog.retagged(here.scope.context()) == []


def test_tags_select_and_travel(tmp_path: Path, remote: str) -> None:
    """Tags set after a push are sent by the next one."""
    here = br.open(store=tmp_path / "here", remote=remote)
    here.add("x", 1, tags={"year": "2013"}, commit=True)
    here.push("x")
    here.tag("x", {"state": "checked"})
    here.push("x")
    there = br.open(store=tmp_path / "there", remote=remote)
    assert there.pull("x")[0].tags == {"year": "2013", "state": "checked"}
    assert there.get("x", tags={"state": "checked"}) == 1
    with pytest.raises(errors.BundleNotFound):
        there.get("x", tags={"state": "wrong"})
    with pytest.raises(errors.UsageError):
        here.add("x", 1, tags={"n": 5})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "tags", [{"": "x"}, {"k": "two\nlines"}, {"k": 1}, {1: "v"}, {"k": "v" * 2000}]
)
def test_a_tag_that_is_none_is_refused_by_every_verb_alike(
    tmp_path: Path, tags: dict[Any, Any]
) -> None:
    """One rule: what ``add`` refuses is refused with the same words where it is looked for."""
    here = br.open(store=tmp_path / "store")
    here.add("x", 1)
    said = set()
    for verb in (
        lambda: here.add("y", 1, tags=tags),
        lambda: here.tag("x", tags),
        lambda: here.find("x", tags=tags),
        lambda: here.ls("x", tags=tags),
        lambda: here.apply("x", "out", "no.such.Pipe", input_tags=tags),
    ):
        with pytest.raises(errors.BadName) as caught:
            verb()
        said.add(str(caught.value))
    assert len(said) == 1


def test_a_run_takes_a_pipe_class_as_apply_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its module and class: the refusal of the missing image names them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "classy.py").write_text(PIPE)
    from classy import Times  # type: ignore[import-not-found]

    workspace = br.open(store=tmp_path / "store", remote=f"file://{tmp_path}/remote")
    with pytest.raises(errors.ImageNotFound) as refused:
        workspace.run(None, "out", Times)
    assert refused.value.hint is not None
    assert "classy.Times" in refused.value.hint


@pytest.mark.parametrize("verb", ["apply", "plan", "run", "submit"])
def test_an_object_of_a_pipe_is_refused_with_the_way_to_name_it(tmp_path: Path, verb: str) -> None:
    """The class, and its parameters apart."""

    class Mine(br.Pipe):
        def pipe_run(self) -> int:
            return 1

    workspace = br.open(store=tmp_path / "store")
    with pytest.raises(errors.BadModule, match="is not a Pipe class but an object") as refused:
        getattr(workspace, verb)(None, "out", Mine())
    assert refused.value.hint == "Mine, with its parameters as params={...}"


def test_an_unknown_keyword_is_compared_only_to_what_is_near(tmp_path: Path) -> None:
    """A pipe's parameter, given as a keyword, is like no option."""
    workspace = br.open(store=tmp_path / "store")
    with pytest.raises(errors.UsageError, match="'top' is not an option of a run; try"):
        workspace.run(None, "out", "a.B", top=2)
    with pytest.raises(errors.UsageError, match="did you mean 'force'"):
        workspace.run(None, "out", "a.B", forced=True)


def test_tags_that_are_not_a_dict_are_refused(tmp_path: Path) -> None:
    """By every verb that takes some."""
    workspace = br.open(store=tmp_path / "store")
    with pytest.raises(errors.BadName, match="must be a dict"):
        workspace.add("x", 1, tags="a:b")  # type: ignore[arg-type]


def test_a_workspace_shows_its_store_and_context(tmp_path: Path) -> None:
    """Without opening either."""
    shown = repr(br.open(store=tmp_path / "store", context="mine"))
    assert shown == f"<Workspace {tmp_path / 'store'}, context mine>"
