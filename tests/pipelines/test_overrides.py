"""Configuration, variables and secrets: what a caller gives to pipes, and what no file does."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun.api.workspace import Workspace
from bundlerun.errors import BadParameter, Conflict, SettingsError, UsageError, UserError
from bundlerun.progress import Lines

_NUMBERS = itertools.count()

PIPES = """
import os

import luigi

import bundlerun as br

class {conf}(luigi.Config):
    depth = luigi.IntParameter(default=3)
    word = luigi.Parameter(default="none", config_path={{"section": "{conf}paths", "name": "word"}})
    hidden = luigi.Parameter(
        default="", visibility=luigi.parameter.ParameterVisibility.PRIVATE
    )

AT_IMPORT = {conf}().depth

class Deep(br.Pipe):
    step = luigi.IntParameter(default=1)
    root = luigi.Parameter(default="/", config_path={{"section": "{conf}paths", "name": "root"}})
    def pipe_run(self, pipeline_input):
        conf = {conf}()
        return [conf.depth, conf.word, self.step, self.root, os.environ.get("GIVEN"), AT_IMPORT]

class Top(br.Pipe):
    def requires(self):
        return {{"deep": Deep()}}
    def pipe_run(self, pipeline_input, deep):
        return deep

class Outer(br.Pipe):
    def pipe_run(self, pipeline_input):
        bundle = br.apply(None, "inner", Top)
        return br.get(bundle)

class Waits(br.Pipe):
    go = luigi.Parameter()
    def pipe_run(self, pipeline_input):
        import pathlib, time
        pathlib.Path(self.go + ".here").touch()
        while not os.path.exists(self.go):
            time.sleep(0.01)
        return os.environ.get("GIVEN")

class Fails(br.Pipe):
    def pipe_run(self, pipeline_input):
        raise ValueError(os.environ["GIVEN"])

class Leaks(br.Pipe):
    retry_count = 2
    def on_failure(self, error):
        return f"told of {{error}}"
    def pipe_run(self, pipeline_input):
        raise ValueError("no access with " + os.environ["GIVEN"])
"""


class Project:
    """A pipe root, the working directory, with one module of a new name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        number = f"{os.getpid()}_{next(_NUMBERS)}"
        self.module = f"given_{number}"
        self.conf = f"Conf{number}"
        (root / f"{self.module}.py").write_text(PIPES.format(conf=self.conf))

    def configured(self, text: str, name: str = "luigi.cfg") -> Path:
        """A configuration file of luigi; CONF stands for the class's name."""
        path = self.root / name
        path.write_text(textwrap.dedent(text).replace("CONF", self.conf))
        return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project on the import path."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("GIVEN", raising=False)
    importlib.invalidate_caches()
    return Project(root)


@pytest.fixture
def shop(tmp_path: Path, project: Project) -> Iterator[Workspace]:
    """An empty workspace, the default one of this process."""
    workspace = br.open(context="work")
    yield workspace
    workspace.close()


def made(shop: Workspace, project: Project, pipe: str = "Top", **options: Any) -> Any:
    """The value of the pipe's output now."""
    return shop.get(shop.apply(None, "out", f"{project.module}.{pipe}", **options))


def test_what_is_set_reaches_configuration_classes_and_is_in_the_key(
    shop: Workspace, project: Project
) -> None:
    """Also while the module is imported; another value makes another version."""
    given = {f"{project.conf}.depth": 7, f"{project.conf}paths.word": "w"}
    assert made(shop, project, config=given) == [7, "w", 1, "/", None, 7]
    assert made(shop, project, config={**given, f"{project.conf}.depth": 8})[0] == 8
    assert made(shop, project, config=given)[0] == 7
    assert len(shop.ls("out")) == 3
    assert made(shop, project)[0] == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_it_reaches_pipes_in_worker_processes(
    shop: Workspace, project: Project, workers: int
) -> None:
    """The value in a pipe does not depend on the process that it runs in."""
    given = {f"{project.conf}.depth": 7}
    found = made(shop, project, config=given, env={"GIVEN": "x"}, workers=workers)
    assert (found[0], found[4]) == (7, "x")


def test_why_names_what_was_set_otherwise(shop: Workspace, project: Project) -> None:
    """A setting and a variable, each under its own name."""
    made(shop, project, config={f"{project.conf}.depth": 7}, env={"GIVEN": "a"})
    made(shop, project, config={f"{project.conf}.depth": 8}, env={"GIVEN": "b"})
    reasons = {
        reason.part: [(change.what, change.old, change.new) for change in reason.changes]
        for reason in shop.why("out").reasons
    }
    assert reasons["config"] == [(f"{project.conf}.depth", "7", "8")]
    assert reasons["env"] == [("GIVEN", "a", "b")]


def test_a_default_of_a_pipe_can_be_set(shop: Workspace, project: Project) -> None:
    """Under the pipe's own name, and under its parameter's ``config_path``."""
    given = {f"{project.module}.Deep.step": "4", f"{project.conf}paths.root": "/data"}
    assert made(shop, project, config=given)[2:4] == [4, "/data"]
    assert made(shop, project, "Deep", config=given, params={"step": 5})[2] == 5


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("[CONF]\ndepth = 7\n", "--set CONF.depth=7"),
        ("[CONFpaths]\nroot: /my data\n", "--set CONFpaths.root='/my data'"),
        ("[MODULE.Deep]\nstep=2\n", "--set MODULE.Deep.step=2"),
        ("[DEFAULT]\ndepth=9\n[CONF]\n", "--set CONF.depth=9"),
        ("[CONF]\nhidden=pw\n", "--set CONF.hidden=VALUE"),
    ],
)
def test_a_file_that_sets_what_the_pipeline_has_is_refused(
    shop: Workspace, project: Project, text: str, cure: str
) -> None:
    """With file, key and cure; nothing ran. With the cure it goes, and the file says nothing."""
    path = project.configured(text.replace("MODULE", project.module))
    with pytest.raises(SettingsError) as refused:
        made(shop, project)
    wanted = cure.replace("CONF", project.conf).replace("MODULE", project.module)
    assert str(path) in str(refused.value)
    assert refused.value.hint == wanted
    assert shop.ls("out") == []
    name = wanted.removeprefix("--set ").partition("=")[0]
    made(shop, project, config={name: "5"})


def test_a_file_that_a_variable_names_is_refused_alike(
    shop: Workspace, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LUIGI_CONFIG_PATH, and toml where luigi is told to read that."""
    path = project.configured("[CONF]\ndepth = 7\n", "elsewhere.cfg")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(path))
    with pytest.raises(SettingsError, match=r"elsewhere\.cfg sets"):
        made(shop, project)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(project.root / "absent.cfg"))
    made(shop, project)
    project.configured("[CONF]\ndepth = 7\n", "luigi.toml")
    made(shop, project)
    monkeypatch.setenv("LUIGI_CONFIG_PARSER", "toml")
    with pytest.raises(SettingsError, match=r"luigi\.toml sets"):
        made(shop, project)


def test_other_sections_are_left_in_silence(
    shop: Workspace, project: Project, recwarn: pytest.WarningsRecorder
) -> None:
    """luigi's own, other programs', and keys that no class has; pipes see none of them."""
    project.configured("[core]\nlog_level=DEBUG\n[scheduler]\nretry_count=2\n[CONF]\nnothing=1\n")
    assert made(shop, project)[0] == 3


def test_a_file_edited_under_an_old_result_is_noticed(shop: Workspace, project: Project) -> None:
    """What luigi would have taken silently from the file is an error, not an old answer."""
    made(shop, project)
    project.configured("[CONF]\ndepth = 7\n")
    with pytest.raises(SettingsError):
        made(shop, project)


def test_a_class_of_an_installed_package_can_be_set(
    shop: Workspace, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library's configuration class took its values from files as the project's own."""
    library = tmp_path / "site-packages"
    library.mkdir()
    name = f"library_{project.module}"
    (library / f"{name}.py").write_text(
        f"import luigi\nclass Lib{project.conf}(luigi.Config):\n"
        "    size = luigi.IntParameter(default=1)\n"
    )
    monkeypatch.syspath_prepend(str(library))
    path = project.root / f"uses_{name}.py"
    path.write_text(
        f"import bundlerun as br\nimport {name}\nclass Uses(br.Pipe):\n"
        f"    def pipe_run(self, pipeline_input):\n"
        f"        return {name}.Lib{project.conf}().size\n"
    )
    pipe, setting = f"uses_{name}.Uses", f"Lib{project.conf}.size"
    assert shop.get(shop.apply(None, "out", pipe)) == 1
    project.configured("[LibCONF]\nsize = 2\n")
    with pytest.raises(SettingsError, match=setting):
        shop.apply(None, "out", pipe)
    assert shop.get(shop.apply(None, "out", pipe, config={setting: 2})) == 2


@pytest.mark.parametrize("name", ["CONF.dept", "Con.depth", "CONF.depth.x"])
def test_a_setting_that_nothing_has_is_refused_with_the_nearest(
    shop: Workspace, project: Project, name: str
) -> None:
    """A slip of the pen is no setting."""
    given = {name.replace("CONF", project.conf): 1}
    with pytest.raises(BadParameter, match=rf"has the setting .*{project.conf}\.depth"):
        made(shop, project, config=given)
    with pytest.raises(BadParameter, match="int"):
        made(shop, project, config={f"{project.conf}.depth": "deep"})


def test_a_private_setting_stands_in_the_key_as_a_digest(shop: Workspace, project: Project) -> None:
    """Keys lie in every record."""
    bundle = shop.apply(
        None, "out", f"{project.module}.Top", config={f"{project.conf}.hidden": "hunter22"}
    )
    assert "hunter22" not in str(bundle.to_json())
    assert bundle.lineage.task is not None
    assert "sha256:" in bundle.lineage.task.parts["config"]


def test_an_inner_apply_sees_what_the_outer_was_given(shop: Workspace, project: Project) -> None:
    """It is one run: the inner pipe's key has the settings too."""
    given = {f"{project.conf}.depth": 7}
    assert made(shop, project, "Outer", config=given, env={"GIVEN": "x"})[0] == 7
    assert made(shop, project, "Outer", env={"GIVEN": "x"})[0] == 3


def test_variables_are_restored_afterwards(
    shop: Workspace, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were there and those that were not, after a failure too."""
    monkeypatch.setenv("THERE", "before")
    made(shop, project, env={"GIVEN": "x", "THERE": "y"})
    with pytest.raises(br.errors.UserError, match="ValueError: z"):
        made(shop, project, "Fails", env={"GIVEN": "z"})
    assert "GIVEN" not in os.environ
    assert os.environ["THERE"] == "before"


def test_variables_of_applies_side_by_side_are_refused(
    shop: Workspace, project: Project, tmp_path: Path
) -> None:
    """They belong to the process, so one apply would see the other's."""
    go = tmp_path / "go"
    other = br.open(context="work")
    thread = threading.Thread(
        target=other.apply,
        args=(None, "slow", f"{project.module}.Waits"),
        kwargs={"params": {"go": str(go)}},
    )
    thread.start()
    try:
        while not Path(f"{go}.here").exists():
            assert thread.is_alive()
        with pytest.raises(Conflict, match="another apply"):
            made(shop, project, env={"GIVEN": "x"})
        made(shop, project)
    finally:
        go.touch()
        thread.join()
    assert other.get("slow") is None
    other.close()


def test_a_secret_reaches_the_pipe_and_stands_nowhere(
    shop: Workspace, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in no record; another value makes nothing new; one that is not set is refused."""
    pipe = f"{project.module}.Top"
    with pytest.raises(UsageError, match="GIVEN is not set"):
        shop.apply(None, "out", pipe, secrets=["GIVEN"])
    monkeypatch.setenv("GIVEN", "hunter22")
    bundle = shop.apply(None, "out", pipe, secrets=["GIVEN"])
    assert shop.get(bundle)[4] == "hunter22"
    assert "GIVEN" not in str(bundle.to_json())
    assert "hunter22" not in str(bundle.to_json())
    monkeypatch.setenv("GIVEN", "other")
    assert shop.apply(None, "out", pipe, secrets=["GIVEN"]).id == bundle.id


@pytest.mark.parametrize("workers", [1, 2])
def test_the_failure_of_a_pipe_does_not_say_a_secret(
    shop: Workspace, project: Project, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Libraries put what they were given into their errors: the message, the traceback and the
    lines on the way have it masked, and no error behind it says it either."""
    monkeypatch.setenv("GIVEN", "hunter22")
    told: list[str] = []
    shop.scope.progress = Lines(told.append)
    with pytest.raises(UserError, match=r"no access with \*\*\*") as raised:
        shop.apply(None, "out", f"{project.module}.Leaks", secrets=["GIVEN"], workers=workers)
    everything = [*traceback.format_exception(raised.value), raised.value.evidence, *told]
    assert "no access with ***" in raised.value.evidence
    assert any("attempt 2 of 2" in line for line in told)
    assert "hunter22" not in "".join(everything)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"config": {"depth": 1}}, "Section.key"),
        ({"config": {"DEFAULT.x": 1}}, "Section.key"),
        ({"env": {"X": "\0"}}, "NUL"),
        ({"env": {"1X": "a"}}, "not the name of a variable"),
        ({"env": {"BUNDLERUN_HOME": "a"}}, "bundlerun's own"),
        ({"secrets": ["PW=hunter22"]}, "for a service that reads it"),
        ({"secrets": ["HOME"], "env": {"HOME": "/"}}, "--env"),
        ({"secrets": ["HOME=arn:aws:ssm:r:1:parameter/x"]}, "for a service that reads it"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    shop: Workspace, project: Project, options: dict[str, Any], said: str
) -> None:
    """Before anything runs, and without the text of a secret."""
    with pytest.raises(UsageError, match=said) as refused:
        made(shop, project, **options)
    assert "hunter22" not in str(refused.value)


@pytest.mark.heavy
def test_the_command_line_says_the_same(project: Project, tmp_path: Path) -> None:
    """--set, --env and --secret before IN; a --set after the class is told where it belongs."""
    project.configured("[CONF]\ndepth = 7\n")
    environment = {**os.environ, "PW": "pw", "BUNDLERUN_HOME": str(tmp_path / "home")}

    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from bundlerun.cli.main import main; main()"]
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env=environment
        )

    pipe = f"{project.module}.Top"
    refused = cli("apply", "-", "out", pipe)
    assert refused.returncode == 3
    assert f"try: --set {project.conf}.depth=7" in refused.stderr
    given = ["--set", f"{project.conf}.depth=7", "--env", "GIVEN=x", "--secret", "PW"]
    done = cli("apply", *given, "-", "out", pipe)
    assert done.returncode == 0, done.stderr
    assert '"x"' in cli("cat", "out", "--json").stdout
    late = cli("apply", "-", "out", pipe, "--set", f"{project.conf}.depth=7")
    assert "--set before IN" in late.stderr
    # luigi itself fails of it, when it is imported, and does not say which file it is.
    broken = project.configured("[CONF\n")
    refused = cli("apply", *given, "-", "out", pipe)
    assert refused.returncode == 3
    assert f"{broken} cannot be read as luigi's configuration" in refused.stderr
