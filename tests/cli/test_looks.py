"""How the command line looks: tables that fit, builds that do not flood, bars that go away."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.cli import render
from bundlerun.cli.bars import LINE_SHOWN, Bars
from bundlerun.formatting import outline_lines
from tests.cli.conftest import Said

Cli = Callable[..., Said]

BUILD = [
    "#1 [internal] load remote build context",
    "#8 [5/9] RUN python -m pip install everything",
    "#8 sha256:edd903a8807f968956f7c88048b7526a2567e4dcae3b98913cccd48cc90ccc48",
    "#8 7.749 Collecting pandas>=2",
    "#8 [5/9] RUN python -m pip install everything",
    "#8 DONE 43.7s",
    "Step 6/9 : COPY wheel/ /bundlerun/wheel/",
]


def test_a_narrow_terminal_cuts_only_what_may_be_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names and ids stay whole; a column in which nothing stands is left out."""
    from rich.console import Console

    monkeypatch.setattr(render, "console", lambda: Console(width=40))
    rows = [["flights", "01a1f8c3", "-", "examples.flights.Delays"]]
    render.echo_table(["NAME", "ID", "TAGS", "PIPE"], rows, elastic=["PIPE"])
    shown = capsys.readouterr().out
    assert "flights  01a1f8c3  …mples.flights.Delays" in shown, (
        "the class is what tells pipes apart"
    )
    assert "TAGS" not in shown
    assert max(map(len, shown.splitlines())) <= 40


def test_a_build_names_each_step_once_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What else it prints is for ``-v``; what is no build's line is always shown."""
    with Bars() as bars:
        bar = bars.start("building x", None, "steps")
        for line in BUILD:
            bars.line(line)
        bars.finish(bar)
        bars.line("read 336776 departures")
    assert capsys.readouterr().err.splitlines() == [
        "[5/9] RUN python -m pip install everything",
        "Step 6/9 : COPY wheel/ /bundlerun/wheel/",
        "read 336776 departures",
    ]


def test_verbose_shows_every_line_of_a_build(capsys: pytest.CaptureFixture[str]) -> None:
    """As the builder prints them."""
    with Bars(verbose=True) as bars:
        bars.start("building x", None, "steps")
        for line in BUILD:
            bars.line(line)
    assert capsys.readouterr().err.splitlines() == BUILD


def test_a_huge_line_of_a_log_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """It would push everything else off the screen."""
    with Bars() as bars:
        bars.line("x" * 300_000)
    assert len(capsys.readouterr().err) == LINE_SHOWN + 1


def test_a_traceback_that_the_log_showed_is_known_to_be_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """So it is not printed twice; one that was not in the log is."""
    with Bars() as bars:
        for line in ("Traceback:", '  File "x.py"', "ValueError: no"):
            bars.line(line)
        assert bars.has_shown('Traceback:\n  File "x.py"\nValueError: no\n')
        assert not bars.has_shown("Traceback:\nKeyError: other")


@pytest.mark.heavy
def test_bars_leave_the_terminal_clean_and_stdout_alone(tmp_path: Path) -> None:
    """Drawn on standard error after a moment; what is printed meanwhile goes where it was sent."""
    script = (
        "import time\n"
        "from bundlerun.cli.bars import Bars\n"
        "with Bars() as bars:\n"
        "    bar = bars.start('sending', 100, 'files')\n"
        "    time.sleep(0.8)\n"
        "    bars.advance(bar, 50)\n"
        "    print('result')\n"
        "    bars.finish(bar)\n"
    )
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("wb") as out:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        done = subprocess.Popen(
            [sys.executable, "-c", script], stdout=out, stderr=theirs, env=environment
        )
        os.close(theirs)
        drawn = b""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                drawn += os.read(ours, 4096)
            except OSError:  # the other end is closed: Linux says EIO
                break
        assert done.wait(10) == 0
    os.close(ours)
    assert (tmp_path / "out").read_text() == "result\n"
    assert b"sending" in drawn
    assert b"\x1b[2K" in drawn.rpartition(b"sending")[2]


def test_a_check_that_fails_is_an_exit_code(bundlerun: Cli, tmp_path: Path) -> None:
    """What a command leaves with is what the shell sees."""
    assert bundlerun("sandbox", "status").code == 1
    bundlerun("context", "one")
    bundlerun("remote", "one", f"file://{tmp_path}/remote")
    (tmp_path / "remote").rename(tmp_path / "moved")
    assert bundlerun("doctor").code == 1


def test_what_the_machine_refuses_is_one_line(
    bundlerun: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, unless -v stands before the verb."""

    def refuse(*_: object, **_more: object) -> None:
        raise OSError(5, "Input/output error", "/dev/x")

    monkeypatch.setattr("bundlerun.api.workspace.Workspace.ls", refuse)
    said = bundlerun("ls", "-v")
    assert said.code == 1
    assert "Input/output error" in said.err
    assert "Traceback" not in said.err
    assert "Traceback" in bundlerun("-v", "ls").err


def test_cat_writes_short_lists_on_one_line_and_cuts_long_ones() -> None:
    """A value is to be seen at a glance."""
    few = [{"type": "str", "value": "fri"}, {"type": "int", "value": 12}]
    assert outline_lines({"type": "tuple", "count": 2, "entries": few}) == ["tuple ('fri', 12)"]
    many = [{"type": "int", "value": 1000 + at} for at in range(100)]
    lines = outline_lines({"type": "list", "count": 500, "entries": many, "more": 400})
    assert lines[0] == "list of 500"
    assert lines[-1] == "  ... and 480 more"
    assert outline_lines({"type": "NoneType", "value": "None"}) == ["None"]


def test_lineage_tells_a_shared_ancestor_once(ok: Cli, tmp_path: Path) -> None:
    """``sales`` made both that ``best`` was made of; on another machine too, where only ``best``
    was pulled: the records of the others are on the remote."""
    (tmp_path / "diamond.py").write_text(
        "import bundlerun as br\n"
        "class First(br.Pipe):\n"
        "    def pipe_run(self, pipeline_input):\n"
        "        return 1\n"
        "class Second(br.Pipe):\n"
        "    def requires(self):\n"
        "        return {'first': First()}\n"
        "    def pipe_run(self, pipeline_input, first):\n"
        "        return 2\n"
        "class Last(br.Pipe):\n"
        "    def requires(self):\n"
        "        return {'second': Second(), 'first': First()}\n"
        "    def pipe_run(self, pipeline_input, first, second):\n"
        "        return 3\n"
    )
    ok("context", "here")
    ok("remote", "here", f"file://{tmp_path}/remote")
    ok("apply", "--commit", "--pipe-root", tmp_path, "-", "best", "diamond.Last")
    ok("push")
    drawn = ok("lineage", "best").out
    assert drawn.count("pipe   diamond.First") == 1
    assert drawn.count("(as above)") == 1
    there = br.open(store=tmp_path / "there", remote=f"file://{tmp_path}/remote", context="there")
    there.pull("best")
    tree = there.lineage("best")
    assert {parent.role: parent.known for parent in tree.parents} == {"first": True, "second": True}
    assert [bundle.name for bundle in there.ls()] == ["best"]
    there.close()


def test_a_list_of_many_versions_is_drawn_line_by_line(ok: Cli, tmp_path: Path) -> None:
    """Wide characters, markup and line ends in a cell leave the columns as they are."""
    ok("context", "work")
    ok("switch", "work")
    (tmp_path / "a").write_text("a")
    ok("add", "日本", tmp_path / "a", "-t", "x:[bold]")
    ok("add", "plain", tmp_path / "a", "-t", "y:1")
    out = ok("ls").out.splitlines()
    assert [line[: line.index("  ")] for line in out[2:]] == ["plain", "日本"]
    # Where the columns begin, counted as a terminal shows them: two cells a wide character.
    assert out[0].index("STATE") == out[2].index("scratch") == out[3].index("scratch") + 2
    assert out[3].endswith("x:[bold]")
