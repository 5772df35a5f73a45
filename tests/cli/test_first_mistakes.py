"""The mistakes of a first day: each is refused in words that lead to what was meant."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun import errors
from tests.cli.conftest import Said

Cli = Callable[..., Said]

REPORT = """
import luigi
from bundlerun import Pipe

class Knobs(luigi.Config):
    size = luigi.IntParameter(default=1)

class Best(Pipe):
    top = luigi.IntParameter(default=3)
    def pipe_run(self, pipeline_input):
        return self.top
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``firstshop/report.py`` and a table, as the working folder."""
    (tmp_path / "firstshop").mkdir()
    (tmp_path / "firstshop" / "report.py").write_text(REPORT)
    (tmp_path / "sales.csv").write_text("day,sold\nmon,5\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _bind(ok: Cli, shop: Path) -> None:
    ok("context", "shop")
    ok("remote", "shop", f"file://{shop}/remote")


def test_a_mistyped_bundle_is_named(ok: Cli, bundlerun: Cli, shop: Path) -> None:
    """The nearest name of the context is told instead of a pull that would find nothing."""
    _bind(ok, shop)
    ok("add", "sales", "sales.csv")
    said = bundlerun("cat", "sale")
    assert "did you mean 'sales'?" in said.err
    assert "try: bundlerun ls" in said.err


def test_a_name_that_is_nowhere_leads_to_a_list(ok: Cli, bundlerun: Cli, shop: Path) -> None:
    """``cat`` sends one to ``pull NAME``, and that one to what the remote has, not back."""
    _bind(ok, shop)
    assert "try: bundlerun pull weather" in bundlerun("cat", "weather").err
    assert "try: bundlerun pull; bundlerun ls" in bundlerun("pull", "weather").err
    ok("add", "weather", "sales.csv")
    assert "bundlerun commit weather; bundlerun push weather" in bundlerun("pull", "weather").err


def test_a_version_that_is_not_there_leads_to_those_that_are(
    ok: Cli, bundlerun: Cli, shop: Path
) -> None:
    """By an id's prefix, and by tags."""
    _bind(ok, shop)
    ok("add", "sales", "sales.csv")
    assert "try: bundlerun ls sales" in bundlerun("cat", "sales@ffff").err
    wrong = bundlerun("apply", "-it", "year:1999", "sales", "best", "firstshop.report.Best")
    assert "try: bundlerun ls sales" in wrong.err


def test_a_context_that_is_not_there_leads_to_the_list_and_to_making_it(bundlerun: Cli) -> None:
    """Who deletes or chooses a mistyped one does not want a new one."""
    for words in (("context", "-d", "nope"), ("switch", "nope"), ("-c", "nope", "ls")):
        said = bundlerun(*words)
        assert said.code == errors.ContextNotFound.exit_code
        assert "bundlerun context lists them; bundlerun context nope makes it" in said.err


def test_what_is_said_of_a_deleted_context_is_true(ok: Cli, shop: Path) -> None:
    """One that had no remote has left nothing on one."""
    ok("context", "plain")
    assert "remote" not in ok("context", "-d", "plain").out
    _bind(ok, shop)
    assert f"file://{shop}/remote keeps" in ok("context", "-d", "shop").out


def test_a_folder_as_a_remote_leads_to_its_url(ok: Cli, bundlerun: Cli, shop: Path) -> None:
    """A path in place of a URL, absolute or not."""
    ok("context", "shop")
    for path in (str(shop / "remote"), "remote"):
        said = bundlerun("remote", "shop", path)
        assert said.code == errors.UsageError.exit_code
        assert f"try: file://{shop}/remote" in said.err


def test_a_module_in_place_of_a_class_leads_to_its_pipes(bundlerun: Cli, shop: Path) -> None:
    """``firstshop.report`` is a module: its class was left out. The same to build."""
    for words in (("apply", "-", "best"), ("dockerize", ".")):
        said = bundlerun(*words, "firstshop.report")
        assert said.code == errors.BadModule.exit_code
        assert "firstshop.report is a module" in said.err
        assert "try: firstshop.report.Best\n" in said.err


def test_a_mistyped_module_is_named(bundlerun: Cli, shop: Path) -> None:
    """The nearest file of its folder; in another folder, the option that says where."""
    said = bundlerun("apply", "-", "best", "firstshop.rep.Best")
    assert "try: firstshop.report" in said.err
    said = bundlerun("apply", "--pipe-root", "/", "-", "best", "firstshop.report.Best")
    assert "--pipe-root" in said.err


def test_a_parameter_before_in_leads_behind_the_class(bundlerun: Cli, shop: Path) -> None:
    """Not to another option of bundlerun's own that sounds alike."""
    for verb in ("apply", "run"):
        said = bundlerun(verb, "--top", "2", "-", "best", "firstshop.report.Best")
        assert said.code == errors.UsageError.exit_code
        assert "the pipe's own parameters follow its class" in " ".join(said.err.split())
        assert "--set" not in said.err


def test_a_parameter_of_the_wrong_type_is_told_plainly(bundlerun: Cli, shop: Path) -> None:
    """A value that is none, and no value at all."""
    said = bundlerun("apply", "-", "best", "firstshop.report.Best", "--top", "x")
    assert "the parameter 'top' must be of type int, not 'x'" in said.err
    said = bundlerun("apply", "-", "best", "firstshop.report.Best", "--top")
    assert "--top 3" in said.err


def test_no_room_and_no_time_are_refused(bundlerun: Cli) -> None:
    """Zero is not "unlimited", and a default does not take its place without a word."""
    for option in ("--timeout-s", "--memory-mib", "--vcpus"):
        for value in ("0", "-1"):
            said = bundlerun("run", option, value, "-", "out", "firstshop.report.Best")
            assert said.code == errors.UsageError.exit_code, (option, value)
            assert option in said.err


def test_the_help_has_every_exit_code_of_an_error(bundlerun: Cli) -> None:
    """Those of ten to nineteen stand together."""
    text = " ".join(bundlerun("-h").out.split())
    told = {int(number) for number in re.findall(r"\b(\d+)\b", text.partition("Exit codes:")[2])}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.BundlerunError)}
    assert codes <= told | {10, 11, 12, 13, 14, 15, 16, 17, 18, 19}


def test_apply_says_that_equal_work_was_found(ok: Cli, shop: Path) -> None:
    """Under the same name nothing is made; under another one the earlier value is named."""
    (shop / "firstshop").rename(shop / "firstmade")  # a process has one module of a name
    first = ok("apply", "-", "best", "firstmade.report.Best")
    assert "equal work" not in first.err
    again = ok("apply", "-", "best", "firstmade.report.Best")
    assert again.out == first.out
    assert "equal work was found; --force runs it again" in again.err
    assert "equal work" not in ok("apply", "--force", "-", "best", "firstmade.report.Best").err
    other = ok("apply", "-", "other", "firstmade.report.Best")
    assert "equal work was found: best@" in other.err
