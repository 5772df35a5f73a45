"""What a user types wrong is refused with the next command to type."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said

Cli = Callable[..., Said]

PIPES = """
import luigi

import bundlerun as br


class Slow(br.Pipe):
    secs = luigi.IntParameter()
    names = luigi.ListParameter(default=[])

    def pipe_run(self, pipeline_input):
        return {"a": object()}


class NoRun(br.Pipe):
    pass


class Plain:
    pass
"""

MISTAKES = {
    "rnu": "bundlerun run",
    "": "bundlerun -h",
    "sandbox": "bundlerun sandbox -h",
    "ls -t": "bundlerun ls -h",
    "ls --jsn": "--json",
    "add x": "bundlerun add [OPTIONS] NAME PATH...",
    "add x nofile": "ls .",
    "add x sale.csv": "sales.csv",
    "add 'a b' sales.csv": "'a-b'",
    "add x sales.csv ./sales.csv": "bundlerun add NAME sales.csv=./sales.csv",
    "add x pipe": "ls -l 'pipe'",
    "add x -t year=2013 sales.csv": "year:2013",
    "add x -t :v sales.csv": "KEY:VALUE",
    "add x --as csv sales.csv": "bundlerun add -h",
    "add x --as table mistaken": "without --as table",
    "cat slaes": "bundlerun ls",
    "cat sales@zzzz": "bundlerun ls sales",
    "ls nothing": "bundlerun ls",
    "ls -t a:b": "bundlerun ls",
    "tag sales nocolon": "nocolon:VALUE",
    "commit nothing": "bundlerun ls",
    "rm --old --all sales": "bundlerun rm sales --old",
    "rm --remote sales": "bundlerun remote default",
    "push": "bundlerun remote default",
    "pull nothing": "bundlerun remote default",
    "switch nope": "bundlerun context",
    "-c nope ls": "bundlerun context",
    "context -d": "bundlerun context NAME -d",
    "context default": "bundlerun switch default",
    "remote default /tmp/x": "file:///tmp/x",
    "remote default s3:b": "s3://bucket/prefix",
    "remote default s3://B_/x": "s3://bucket/prefix",
    "remote default file://rel/x": "file:///dir",
    "remote default file:///x?y": "file:///x%3Fy",
    "lineage nothing": "bundlerun ls",
    "why nothing": "bundlerun ls",
    "diff sales": "bundlerun diff [OPTIONS] A B",
    "gc --grace soon": "--grace 7d",
    "fsck --remote": "bundlerun remote default",
    "apply nope out mistaken.slow.Slow --secs 1": "bundlerun ls",
    "apply sales out mistaken.slow.Slwo --secs 1": "mistaken.slow.Slow",
    "apply sales out lba.slow.Slow --secs 1": "--pipe-root FOLDER",
    "apply sales out mistaken.slow --secs 1": "mistaken.slow.Slow",
    "apply sales out Slow": "package.module.Class",
    "apply sales out mistaken.slow.Plain": "class Name(bundlerun.Pipe)",
    "apply sales out mistaken.slow.NoRun": "def pipe_run(self",
    "apply sales out mistaken.slow.Slow": "--secs VALUE",
    "apply sales out mistaken.slow.Slow --sec 3": "--secs VALUE",
    "apply sales out mistaken.slow.Slow --secs three": "--secs 3",
    "apply sales out mistaken.slow.Slow --secs 3": "joblib.dump",
    "apply sales out mistaken.slow.Slow --names a,b --secs 1": """--names '["a", "b"]'""",
    "apply --workers 0 sales out mistaken.slow.Slow --secs 1": "--workers 1",
    "apply --set x sales out mistaken.slow.Slow --secs 1": "--set SECTION.KEY=VALUE",
    "apply --set Slow.secs=1 sales out mistaken.slow.Slow --secs 1": "--set mistaken.slow.Slow",
    "run --set x sales out mistaken.slow.Slow --secs 1": "--set [SECTION.]KEY=VALUE",
    "apply --env BUNDLERUN_X=1 sales out mistaken.slow.Slow --secs 1": "another name",
    "apply --secret NOPE sales out mistaken.slow.Slow --secs 1": "export NOPE=...",
    "apply sales mistaken.slow.Slow --secs 1": "bundlerun apply [OPTIONS] IN OUT PKG.MODULE.PIPE",
    "run sales out mistaken.slow.Slow --secs 1": "bundlerun remote default",
    "run --backend local sales out mistaken.slow.Slow --secs 1": "--backend Local",
    "run --vcpus 0 sales out mistaken.slow.Slow": "bundlerun run -h",
    "run sales mistaken.slow.Slow --secs 1": "bundlerun run [OPTIONS] IN OUT PKG.MODULE.PIPE",
    "dockerize nope mistaken.slow.Slow": "bundlerun dockerize PIPE_ROOT",
    "dockerize . Slow": "package.module.Class",
    "dockerize --platform x . mistaken.slow.Slow": "--platform linux/amd64",
    "dockerize": "bundlerun dockerize PIPE_ROOT PKG.MODULE.PIPE",
    "dockerize .": "bundlerun dockerize PIPE_ROOT PKG.MODULE.PIPE",
    "dockerize --script sales.csv": "#!/bin/sh",
    "dockerize --script gone.py": "ls -l",
    "dockerize --script mistaken/slow.py . mistaken.slow.Slow": "bundlerun dockerize --script",
    "dockerize --script mistaken/slow.py --config-dir nope": "--config-dir FOLDER",
    "dockerize --script mistaken/slow.py --platform x": "--platform linux/amd64",
    "dockerize --script mistaken/slow.py --push": "export BUNDLERUN_REGISTRY",
    "jobs 0123": "bundlerun jobs",
    "logs 0123": "bundlerun jobs",
    "wait 0123": "bundlerun jobs",
    "cancel 0123": "bundlerun jobs",
}
"""A command line -> the beginning of the next command that its refusal names."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file, a named pipe and a module of pipes, which this process imports once."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "mistaken").mkdir()
    (folder / "mistaken/slow.py").write_text(PIPES)
    (folder / "sales.csv").write_text("a,b")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def shop(folder: Path, monkeypatch: pytest.MonkeyPatch, ok: Cli) -> None:
    """That folder, and a store with one bundle."""
    monkeypatch.chdir(folder)
    ok("add", "sales", "raw=sales.csv")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(("line", "cure"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_refused_with_the_next_command(bundlerun: Cli, line: str, cure: str) -> None:
    """Exit code, one line that says what, and one to type."""
    said = bundlerun(*shlex.split(line))
    assert said.code not in (0, 1), said
    message, _, hint = said.err.rpartition("\n  try: ")
    assert message.startswith("bundlerun: "), said.err
    assert hint.startswith(cure), said.err


def test_a_store_where_a_file_stands_is_refused(
    bundlerun: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a wrong setting, with the variable that names another folder."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("BUNDLERUN_STORE", str(tmp_path / "file"))
    said = bundlerun("ls")
    assert said.code == 3
    assert f"the store {tmp_path / 'file'} cannot be made" in said.err
    assert "export BUNDLERUN_STORE=" in said.err


def test_the_hint_of_a_fresh_store_works_as_its_first_command(
    bundlerun: Cli, tmp_path: Path
) -> None:
    """``remote default URL``, with nothing done before."""
    assert bundlerun("remote", "default", f"file://{tmp_path}/remote").code == 0


def test_an_empty_list_of_contexts_says_how_to_make_one(bundlerun: Cli) -> None:
    """Instead of an empty table."""
    said = bundlerun("context")
    assert (said.out, said.code) == ("", 0)
    assert "bundlerun context NAME" in said.err


def test_a_settings_file_that_is_not_toml_is_shown_with_its_lines(
    bundlerun: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the line's number."""
    monkeypatch.setenv("BUNDLERUN_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text("\n[run\n")
    said = bundlerun("ls")
    assert said.code == 3
    assert "is not TOML" in said.err
    assert "line 2" in said.err
    assert f"try: cat -n {tmp_path / 'config.toml'}" in said.err


def test_cat_shows_the_files_of_a_folder_without_a_gap(ok: Cli, folder: Path) -> None:
    """A path, and its size."""
    ok("add", "pipes", folder / "mistaken")
    assert f"  slow.py: {len(PIPES)} B\n" in ok("cat", "pipes").out
