"""The verbs on data, as a person types them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import bundlerun as br
from tests.bundles.memory import nested
from tests.cli.conftest import Said

Cli = Callable[..., Said]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A small CSV file."""
    path = tmp_path / "sales.csv"
    path.write_text("day,sold\n1,10\n2,20\n")
    return path


def test_first_context_made_is_the_chosen_one(ok: Cli) -> None:
    """The first ``context NAME`` also switches to it; a later one says how to."""
    assert ok("context", "one").out == "made one; it is chosen\n"
    assert "bundlerun switch two" in ok("context", "two").out
    assert [(c["name"], c["current"]) for c in ok("context", "--json").json] == [
        ("one", True),
        ("two", False),
    ]


def test_add_reads_again_what_seems_unchanged(ok: Cli, tmp_path: Path) -> None:
    """``--reread``: what a program wrote through a memory map may show in no time of the file."""
    mapped = np.memmap(tmp_path / "m", dtype="i4", mode="w+", shape=(100_000,))
    for number in (1, 2):
        mapped[:] = number
        ok("add", "m", tmp_path / "m", "--reread")
        assert set(np.frombuffer(br.get("m").read_bytes(), "i4")) == {number}


def test_add_keeps_one_path_as_the_file_itself(ok: Cli, table: Path) -> None:
    """One PATH: the value is that file."""
    ok("add", "sales", table, "--commit")
    assert br.get("sales") == br.File(table)


def test_add_keeps_several_paths_as_a_dict_by_basename(ok: Cli, tmp_path: Path) -> None:
    """Several PATHs: a dict; a folder is a Directory."""
    (tmp_path / "a.txt").write_text("a")
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "b.txt").write_text("b")
    ok("add", "both", tmp_path / "a.txt", folder)
    value = br.get("both")
    assert list(value) == ["a.txt", "more"]
    assert value["more"].files() == ["b.txt"]


def test_add_refuses_two_paths_of_one_basename_and_names_the_cure(
    bundlerun: Cli, tmp_path: Path
) -> None:
    """A clash is an error, nothing is added."""
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.csv").write_text(name)
    said = bundlerun("add", "n", tmp_path / "x/same.csv", tmp_path / "y/same.csv")
    assert said.code == 2
    assert "same.csv" in said.err
    assert br.ls("n") == []


def test_key_path_gives_a_dict_by_key(ok: Cli, table: Path) -> None:
    """``raw=FILE`` names the entry."""
    ok("add", "sales", f"raw={table}")
    assert list(br.get("sales")) == ["raw"]


def test_as_table_reads_a_csv(ok: Cli, table: Path) -> None:
    """``--as table`` keeps an Arrow table."""
    ok("add", "sales", table, "--as", "table")
    assert br.get("sales").to_pydict() == {"day": [1, 2], "sold": [10, 20]}


def test_a_parquet_file_with_latin_1_in_a_text_column_is_refused(
    bundlerun: Cli, tmp_path: Path
) -> None:
    """By column and row, with the cure, as it could be committed and never be read."""
    text = pa.array([b"cafe", b"caf\xe9"]).view(pa.string())
    parquet.write_table(pa.table({"city": text}), tmp_path / "old.parquet")
    said = bundlerun("add", "old", tmp_path / "old.parquet", "--as", "table", "--commit")
    assert said.code == 2
    assert "column 'city', row 1: it is not valid string" in said.err
    assert 'decode("latin-1")' in said.err
    assert br.ls("old") == []


def test_a_deep_folder_is_kept_and_one_that_is_too_deep_is_refused(
    bundlerun: Cli, ok: Cli, tmp_path: Path
) -> None:
    """500 levels come back from the store, 1,500 are no traceback but a refusal with the cure."""
    (nested(tmp_path / "deep", 499) / "file").write_bytes(b"x")
    ok("add", "deep", tmp_path / "deep", "--commit")
    assert (br.get("deep").path / ("a/" * 499) / "file").read_bytes() == b"x"
    ok("rm", "deep", "--all")
    (nested(tmp_path / "deeper", 1499) / "file").write_bytes(b"x")
    said = bundlerun("add", "deeper", tmp_path / "deeper")
    # pytest, too, cannot go down so far.
    subprocess.run(["rm", "-rf", tmp_path / "deeper"], check=True)
    assert said.code == 2
    assert "has more than 500 parts" in said.err
    assert ".tar" in said.err


def test_json_of_ls_has_ids_states_and_tags(ok: Cli, table: Path) -> None:
    """``ls --json`` is for programs."""
    ok("add", "sales", table, "-t", "year:2013")
    ok("add", "sales", table, "--commit")
    rows = ok("ls", "sales", "--json").json
    assert [row["committed"] for row in rows] == [True, False]
    assert rows[1]["tags"] == {"year": "2013"}
    assert [row["id"] for row in ok("ls", "-t", "year:2013", "--json").json] == [rows[1]["id"]]
    assert len(ok("ls", "--uncommitted", "--json").json) == 1


def test_names_are_exact_never_patterns(ok: Cli, bundlerun: Cli, table: Path) -> None:
    """``%`` and ``_`` match themselves only."""
    ok("add", "a_b%", table)
    assert bundlerun("ls", "aXb%").code == 4
    assert bundlerun("ls", "%").code == 4
    assert ok("ls", "a_b%", "--json").json[0]["name"] == "a_b%"


def test_commit_tag_cat_and_rm(ok: Cli, bundlerun: Cli, table: Path) -> None:
    """The short life of a bundle."""
    ok("add", "sales", f"raw={table}")
    ok("commit", "sales")
    ok("tag", "sales", "state:checked")
    cat = ok("cat", "sales").out
    assert "state:checked" in cat
    assert "raw" in cat
    assert "sales.csv" in cat
    ok("add", "sales", table, "--commit")
    assert len(ok("rm", "sales", "--old", "--json").json) == 1
    assert len(ok("rm", "sales", "--all", "--json").json) == 1
    assert bundlerun("cat", "sales").code == 4


def test_a_bundle_is_named_by_an_id_prefix(ok: Cli, table: Path) -> None:
    """``name@id-prefix`` is that version, ``name`` the latest."""
    first = ok("add", "sales", table, "--json").json["id"]
    ok("add", "sales", table)
    assert ok("cat", f"sales@{first}", "--json").json["id"] == first


def test_a_deleted_context_with_unpushed_work_needs_force(
    ok: Cli, bundlerun: Cli, table: Path
) -> None:
    """``context -d`` never loses committed work silently."""
    ok("context", "work")
    ok("add", "sales", table, "--commit")
    said = bundlerun("context", "work", "-d")
    assert said.code == 5
    assert "--force" in said.err
    ok("context", "work", "-d", "--force")
    assert bundlerun("switch", "work").code == 4


def test_push_and_pull_between_two_stores(
    ok: Cli, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one pushes, another pulls."""
    remote = tmp_path / "remote"
    remote.mkdir()
    ok("context", "work")
    ok("remote", "work", f"file://{remote}")
    ok("add", "sales", f"raw={table}", "--commit")
    assert [b["name"] for b in ok("push", "--json").json["bundles"]] == ["sales"]
    assert "nothing to push" in ok("push").out
    monkeypatch.setenv("BUNDLERUN_HOME", str(tmp_path / "other"))
    ok("context", "there")
    ok("remote", "there", f"file://{remote}")
    assert "pulled sales@" in ok("pull", "sales", "--localize").out
    assert br.get("sales")["raw"].read_text() == table.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cat", "nothing"], 4, "bundlerun ls"),
        (["add", "x", "/no/such/file"], 2, "/no/such/file"),
        (["add", "a b", "/etc/hostname"], 2, "name"),
        (["add", "x", "/etc/hostname", "-t", "novalue"], 2, "KEY:VALUE"),
        (["switch", "nowhere"], 4, "bundlerun context nowhere"),
        (["push"], 6, "bundlerun remote"),
        (["pull", "x"], 6, "bundlerun remote"),
        (["remote", "default", "http://x"], 2, "s3://"),
        (["-c", "nowhere", "ls"], 4, "bundlerun context nowhere"),
        (["comit", "x"], 2, "commit"),
        (["logs", "0000"], 4, "bundlerun jobs"),
        (["run", "-", "out", "NoModule"], 2, "package.module.Class"),
    ],
)
def test_errors_are_one_line_with_the_next_command(
    bundlerun: Cli, arguments: list[str], code: int, words: str
) -> None:
    """What, where, what to type next; and the documented exit code."""
    bundlerun("context", "default")
    said = bundlerun(*arguments)
    assert said.code == code, said
    assert words in said.err
    assert "Traceback" not in said.err


def test_control_characters_of_a_tag_never_reach_the_terminal(ok: Cli, table: Path) -> None:
    """A hostile text is shown without escapes."""
    from bundlerun.formatting import clean

    assert clean("a\x1b[31mb\u202ec\n") == "a�[31mb�c\n"
