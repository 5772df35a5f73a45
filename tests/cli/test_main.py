"""The command line as a whole: help, verbs, exit codes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from bundlerun import errors
from bundlerun.cli.main import VERBS, cli
from bundlerun.cli.options import pipe_parameters
from tests.cli.conftest import Said

CLI = Path(__file__).parents[2] / "bundlerun" / "cli"


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_a_module_and_help(verb: str, bundlerun: Callable[..., Said]) -> None:
    """``VERB -h`` works, and says something."""
    assert (CLI / f"{verb}.py").is_file()
    command = importlib.import_module(f"bundlerun.cli.{verb}").command
    assert isinstance(command, click.Command)
    said = bundlerun(verb, "-h")
    assert said.code == 0
    todo = [command]
    while todo:
        each = todo.pop()
        assert each.help
        assert all(option.help for option in each.params if isinstance(option, click.Option)), (
            f"an option of {each.name} without help"
        )
        todo += each.commands.values() if isinstance(each, click.Group) else ()


def check_not_loaded(program: str, *names: str) -> None:
    """``program``, in a Python of its own, ends well and has loaded none of the modules."""
    script = f"import sys; {program}; sys.exit(str({{*{names!r}}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1:] == ["set()"], done.stderr


def test_help_imports_nothing_slow() -> None:
    """``--help`` needs click alone."""
    program = "from bundlerun.cli.main import run_cli; assert run_cli(['--help']) == 0"
    check_not_loaded(program, "boto3", "luigi", "docker", "pyarrow", "rich", "sqlite3")


def test_a_list_imports_no_codec() -> None:
    """``ls`` looks names up: how values are written and read is none of it, nor is any engine."""
    check_not_loaded(
        "from bundlerun.cli.main import run_cli; assert run_cli(['ls']) == 0",
        *("boto3", "luigi", "docker", "pyarrow", "zoneinfo", "difflib", "html.entities"),
        *("bundlerun.bundles.value", "bundlerun.pipelines.pipe", "bundlerun.backends"),
        "bundlerun.store.reports",
    )


def test_planning_a_run_imports_no_codec() -> None:
    """A run that finds equal work writes and compares no value, and proves and cleans nothing."""
    check_not_loaded(
        "import bundlerun.cli.run, bundlerun.api.requests, bundlerun.runs.submit",
        *("boto3", "luigi", "docker", "pyarrow", "rich", "html.entities", "decimal"),
        *("bundlerun.bundles.value", "bundlerun.api.compare", "bundlerun.api.checkup"),
        *("bundlerun.store.reports", "bundlerun.runs.settle", "bundlerun.runs.watch"),
    )


def test_a_job_imports_nothing_of_its_client() -> None:
    """What asks for runs, submits and follows them is none of a worker's start, in a container that
    waits for it: no engine, no image, no form in which runs are shown."""
    check_not_loaded(
        "import bundlerun.cli.worker, bundlerun.runs.worker, bundlerun.runs.carry_pipe",
        *("boto3", "docker", "pyarrow", "rich", "bundlerun.api", "bundlerun.backends.base"),
        *("bundlerun.images.dockerfile", "bundlerun.runs.job_spec", "bundlerun.runs.record"),
        "bundlerun.runs.request",
    )


def test_exit_codes_in_the_help_are_those_of_the_errors(
    bundlerun: Callable[..., Said],
) -> None:
    """The documented codes are the real ones."""
    said = bundlerun("--help").out
    assert "11 the pipe raised" in " ".join(said.split())
    assert errors.UserError.exit_code == 11
    assert errors.Stuck.exit_code == 19
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(kind.exit_code != 0 for kind in kinds if issubclass(kind, errors.BundlerunError))


def test_shell_completion_lists_the_verbs() -> None:
    """click's completion finds verbs without importing them."""
    context = click.Context(cli)
    assert set(cli.list_commands(context)) == {verb for verb, line in VERBS.items() if line}


def test_what_follows_the_class_is_the_pipes() -> None:
    """``--top 5 --flag --name=x``; anything else is refused."""
    assert pipe_parameters(["--top", "5", "--flag", "--long-name=x y"]) == {
        "top": "5",
        "flag": "true",
        "long_name": "x y",
    }
    assert pipe_parameters(["--shift", "-3"]) == {"shift": "-3"}
    with pytest.raises(errors.UsageError, match="five"):
        pipe_parameters(["five"])


def test_ctrl_c_leaves_one_line_and_code_130(tmp_path: Path) -> None:
    """No traceback."""
    script = (
        "import sys, bundlerun.api.workspace as d\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        "d.Workspace.ls = stop\n"
        "from bundlerun.cli.main import run_cli\n"
        "sys.exit(run_cli(['ls']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.strip() == "interrupted"


@pytest.mark.heavy
def test_what_a_library_raises_is_one_line(tmp_path: Path) -> None:
    """An exception that nobody foresaw, here of a boto3 that is broken: exit code 1, its class, its
    first line, and how to see where; with -v, before the verb, its traceback."""
    (tmp_path / "boto3").mkdir()
    (tmp_path / "boto3" / "__init__.py").write_text("")
    (tmp_path / "boto3" / "session.py").write_text(
        "def Session(**_):\n    raise RecursionError('too deep\\nand more')\n"
    )
    (tmp_path / "boto3" / "__init__.py").write_text("from boto3 import session\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "BUNDLERUN_HOME": str(tmp_path / "home"),
        "NO_COLOR": "1",
    }

    def said(*arguments: str) -> tuple[int, str]:
        script = "import sys; from bundlerun.cli.main import run_cli; sys.exit(run_cli({!r}))"
        done = subprocess.run(
            [sys.executable, "-c", script.format(list(arguments))],
            env=environment,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr

    assert said("context", "work")[0] == 0
    code, err = said("remote", "work", "s3://some-bucket/x")
    assert code == 1
    assert err == (
        "bundlerun: RecursionError: too deep\n  try: bundlerun -v, before the verb, shows where\n"
    )
    code, err = said("-v", "remote", "work", "s3://some-bucket/x")
    assert code == 1
    assert "Traceback (most recent call last)" in err
