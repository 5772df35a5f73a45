"""The graph of an apply on the page of luigi's central scheduler, read back by its HTTP API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from bundlerun.api.workspace import Workspace
from bundlerun.errors import UsageError, UserError
from bundlerun.pipelines.options import ApplyOptions
from bundlerun.settings import read_settings
from tests.pipelines.conftest import Project, World

PIPES = """
import bundlerun as br

class Base(Pipe):
    n = luigi.IntParameter()
    token = luigi.Parameter(default="none", visibility=luigi.parameter.ParameterVisibility.PRIVATE)
    def pipe_run(self, pipeline_input):
        self.set_status_message(f"counting to {self.n}")
        self.set_progress_percentage(40 + self.n)
        self.set_tracking_url("http://example.org/watch")
        return self.n

class Sum(Pipe):
    def requires(self):
        return {"one": Base(n=1), "two": Base(n=2)}
    def pipe_run(self, pipeline_input, one, two):
        return one + two

class Top(Pipe):
    def requires(self):
        return {"sum": Sum(), "one": Base(n=1)}
    def pipe_run(self, pipeline_input, sum, one):
        return sum

class Fails(Pipe):
    def requires(self):
        return {"one": Base(n=1)}
    def pipe_run(self, pipeline_input, one):
        self.set_status_message("opens with " + os.environ["DOOR_KEY"])
        raise ValueError("the door does not take " + os.environ["DOOR_KEY"])

class After(Pipe):
    def requires(self):
        return {"fails": Fails()}
    def pipe_run(self, pipeline_input, fails):
        return fails

class Twins(Pipe):
    def requires(self):
        return {"a": Base(n=1, token="first"), "b": Base(n=1, token="second")}
    def pipe_run(self, pipeline_input, a, b):
        return a + b

class Outer(Pipe):
    def requires(self):
        return {"one": Base(n=1)}
    def pipe_run(self, pipeline_input, one):
        return br.get(br.apply(None, "inner", Sum))

class OuterFails(Pipe):
    def pipe_run(self, pipeline_input):
        return br.apply(None, "inner", Fails)

class Waits(Pipe):
    def requires(self):
        return {"one": Base(n=1)}
    def pipe_run(self, pipeline_input, one):
        import time
        self.set_status_message("waits")
        time.sleep(600)

class Again(Pipe):
    retry_count = 2
    def pipe_run(self, pipeline_input):
        if not os.path.exists(LOG):
            say("once")
            raise ValueError("not yet")
        return 1
"""


class Luigid:
    """A running ``luigid``."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, **given: object) -> Any:
        """What a method of its API answers."""
        data = urlencode({"data": json.dumps(given)})
        with urlopen(f"{self.url}/api/{method}?{data}", timeout=20) as answer:
            return json.load(answer)["response"]

    def graph(self) -> dict[str, dict[str, Any]]:
        """The tasks by their ids."""
        found: dict[str, dict[str, Any]] = self.ask("graph")
        return found

    def states(self) -> dict[str, str]:
        """What each task is, by its class and parameters."""
        return {said(task): str(task["status"]) for task in self.graph().values()}

    def edges(self) -> set[tuple[str, str]]:
        """Each task and what it needs."""
        graph = self.graph()
        return {(said(task), said(graph[id])) for task in graph.values() for id in task["deps"]}


def said(task: dict[str, Any]) -> str:
    """A task in short: ``Base1``."""
    return str(task["name"]).rpartition(".")[2] + "".join(task["params"].values())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def luigid(tmp_path: Path) -> Iterator[Luigid]:
    """luigi's own server, without any task."""
    found = Luigid(free_port())
    port = found.url.rpartition(":")[2]
    options = ["--address", "127.0.0.1", "--port", port, "--state-path", str(tmp_path / "state")]
    code = "from luigi.cmdline import luigid; luigid()"
    with (tmp_path / "luigid.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-c", code, *options], stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + 60
        while True:
            try:
                found.graph()
                break
            except URLError:
                assert server.poll() is None, (tmp_path / "luigid.log").read_text()
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
        yield found
    finally:
        server.kill()
        server.wait()


class Lines:
    """A Progress that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, what: str, total: int | None, unit: str) -> int:
        """Nothing."""
        return 0

    def advance(self, bar: int, steps: int) -> None:
        """Nothing."""

    def finish(self, bar: int) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace that keeps its lines."""
    settings = read_settings({**os.environ, "BUNDLERUN_HOME": str(tmp_path / "home")})
    with Workspace(settings) as found:
        found.progress = Lines()
        yield found


def lines_of(workspace: Workspace) -> list[str]:
    """The lines about luigid."""
    assert isinstance(workspace.progress, Lines)
    return [line for line in workspace.progress.lines if "luigid" in line]


GRAPH = {("Top", "Sum"), ("Top", "Base1"), ("Sum", "Base1"), ("Sum", "Base2")}


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [1, 2])
def test_luigid_shows_the_real_graph_and_what_pipes_say(
    project: Project, workspace: Workspace, luigid: Luigid, workers: int
) -> None:
    """Dependencies, parameters, states, messages, progress, and a link; also of a second apply that
    finds all of it, and of a third that runs all again."""
    flow = project.module(PIPES)
    options = ApplyOptions(luigid=luigid.url, workers=workers)
    for chosen in (options, options, options.but(force_all=True)):
        workspace.apply(None, "out", flow.Top, options=chosen)
        assert luigid.edges() == GRAPH
        assert set(luigid.states().values()) == {"DONE"}
    id = flow.Base(n=2).task_id
    task = luigid.graph()[id]
    assert task["params"] == {"n": "2"}
    assert task["tracking_url"] == "http://example.org/watch"
    assert luigid.ask("get_task_status_message", task_id=id)["statusMessage"] == "counting to 2"
    assert luigid.ask("get_task_progress_percentage", task_id=id)["progressPercentage"] == 42
    assert lines_of(workspace) == []


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("inner", [False, True])
def test_a_failure_is_shown_without_the_secret(
    project: Project,
    workspace: Workspace,
    luigid: Luigid,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    inner: bool,
) -> None:
    """The pipe FAILED with its error and traceback, what waits for it is PENDING; also of an apply
    inside of a pipe, which was not given the secret itself."""
    monkeypatch.setenv("DOOR_KEY", "open-sesame")
    flow = project.module(PIPES)
    top = flow.OuterFails if inner else flow.After
    options = ApplyOptions(luigid=luigid.url, workers=workers, secrets=["DOOR_KEY"])
    with pytest.raises(UserError):
        workspace.apply(None, "out", top, options=options)
    states = luigid.states()
    assert states == {
        "Base1": "DONE",
        "Fails": "FAILED",
        **({"OuterFails": "FAILED"} if inner else {"After": "PENDING"}),
    }
    for name in ("Fails", "OuterFails") if inner else ("Fails",):
        text = json.loads(luigid.ask("fetch_error", task_id=getattr(flow, name)().task_id)["error"])
        assert "ValueError: the door does not take ***" in text
        assert "Traceback" in text
    whole = json.dumps([luigid.graph(), luigid.ask("fetch_error", task_id=top().task_id)])
    id = flow.Fails().task_id
    message = luigid.ask("get_task_status_message", task_id=id)["statusMessage"]
    assert message == "opens with ***"
    assert "open-sesame" not in whole


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [1, 2])
def test_an_apply_inside_of_a_pipe_is_on_the_same_page(
    project: Project, workspace: Workspace, luigid: Luigid, workers: int
) -> None:
    """Its own graph, also from a child process; "" reports to nobody."""
    flow = project.module(PIPES)
    workspace.apply(None, "quiet", flow.Outer, luigid="", workers=workers)
    assert luigid.graph() == {}
    # All of it is there, so nothing runs; and the page shows just that.
    workspace.apply(None, "quiet", flow.Outer, luigid=luigid.url, workers=workers)
    assert luigid.states() == {"Outer": "DONE", "Base1": "DONE"}
    workspace.apply(None, "out", flow.Outer, luigid=luigid.url, workers=workers, force_all=True)
    assert luigid.edges() == {("Outer", "Base1"), ("Sum", "Base1"), ("Sum", "Base2")}
    assert set(luigid.states().values()) == {"DONE"}


@pytest.mark.heavy
def test_pipes_that_differ_in_a_private_parameter_are_two_tasks(
    project: Project, workspace: Workspace, luigid: Luigid
) -> None:
    """luigi's id leaves it out, and so does the page."""
    flow = project.module(PIPES)
    workspace.apply(None, "out", flow.Twins, luigid=luigid.url)
    graph = luigid.graph()
    assert [said(task) for task in graph.values()].count("Base1") == 2
    assert len(graph[flow.Twins().task_id]["deps"]) == 2
    assert "second" not in json.dumps(graph)


@pytest.mark.heavy
def test_a_pipe_that_runs_again_ends_as_done(
    project: Project, workspace: Workspace, luigid: Luigid
) -> None:
    """A failure that is not the last is none."""
    flow = project.module(PIPES)
    workspace.apply(None, "out", flow.Again, luigid=luigid.url)
    assert luigid.states() == {"Again": "DONE"}


@pytest.mark.heavy
def test_the_command_line_and_the_settings_name_luigid(
    project: Project, tmp_path: Path, luigid: Luigid
) -> None:
    """``apply --luigid URL``, or ``BUNDLERUN_LUIGID``; each command shows on the same page how its
    pipes ended, and no worker of luigi's own is given one of them."""
    project.write("flow_cli.py", PIPES)
    home = {"BUNDLERUN_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "bundlerun", "apply"]
    for options, variables in (
        (["--luigid", luigid.url], {}),
        (["--force-all"], {"BUNDLERUN_LUIGID": luigid.url}),
    ):
        done = subprocess.run(
            [*command, *options, "-", "out", "flow_cli.Sum"],
            cwd=project.root,
            env={**os.environ, **home, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert luigid.edges() == {("Sum", "Base1"), ("Sum", "Base2")}
        assert set(luigid.states().values()) == {"DONE"}
    luigid.ask("add_task", worker="w", task_id="waits", status="PENDING", family="x", params={})
    assert luigid.ask("get_work", worker="w", assistant=True)["task_id"] in ("waits", None)


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [1, 2])
def test_a_pipe_at_work_is_seen_at_work_and_ends_with_its_apply(
    project: Project, tmp_path: Path, luigid: Luigid, workers: int
) -> None:
    """RUNNING with what it says while it runs; Ctrl-C leaves it FAILED, not at work for ever."""
    flow = project.module(PIPES)
    options = ["--workers", str(workers), "--luigid", luigid.url, "-", "out"]
    running = subprocess.Popen(
        [sys.executable, "-m", "bundlerun", "apply", *options, f"{flow.__name__}.Waits"],
        cwd=project.root,
        env={**os.environ, "BUNDLERUN_HOME": str(tmp_path / "home")},
        stderr=subprocess.DEVNULL,
    )
    id = flow.Waits().task_id
    try:
        deadline_s = time.monotonic() + 60
        while luigid.ask("get_task_status_message", task_id=id)["statusMessage"] != "waits":
            assert running.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert luigid.states() == {"Waits": "RUNNING", "Base1": "DONE"}
        running.send_signal(signal.SIGINT)
        assert running.wait(60) != 0
    finally:
        running.kill()
        running.wait()
    assert luigid.states() == {"Waits": "FAILED", "Base1": "DONE"}
    assert "ended with the apply" in luigid.ask("fetch_error", task_id=id)["error"]


@pytest.mark.parametrize("workers", [1, 2])
def test_with_nobody_at_the_address_one_line_says_so(
    project: Project, workspace: Workspace, workers: int
) -> None:
    """The work is done all the same."""
    flow = project.module(PIPES)
    url = f"http://someone:their-password@127.0.0.1:{free_port()}"
    found = workspace.apply(None, "out", flow.Outer, luigid=url, workers=workers)
    assert found.value == 3
    assert len(lines_of(workspace)) == 1
    assert "their-password" not in lines_of(workspace)[0]


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [1, 2])
def test_a_luigid_that_takes_connections_and_says_nothing_is_given_up(
    project: Project, workspace: Workspace, workers: int
) -> None:
    """As one that is stopped: the apply ends all the same, and one line says so."""
    flow = project.module(PIPES)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        found = workspace.apply(None, "out", flow.Outer, luigid=url, workers=workers)
        assert found.value == 3
    assert len(lines_of(workspace)) == 1


def test_what_is_not_luigid_is_as_good_as_nobody(project: Project, workspace: Workspace) -> None:
    """A server that takes the connection and says nonsense."""
    flow = project.module(PIPES)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert workspace.apply(None, "out", flow.Sum, luigid=url).value == 3
        thread.join()
    assert len(lines_of(workspace)) == 1


def test_what_is_not_an_address_is_refused_before_anything_runs(
    project: Project, workspace: Workspace
) -> None:
    """With an example."""
    flow = project.module(PIPES)
    with pytest.raises(UsageError, match="must be http") as caught:
        workspace.apply(None, "out", flow.Sum, luigid="127.0.0.1:8082")
    assert "http://127.0.0.1:8082" in str(caught.value.hint)
    assert workspace.find("out") is None


def test_without_luigid_nothing_is_reported(project: Project, world: World) -> None:
    """No thread is begun."""
    flow = project.module(PIPES)
    before = threading.active_count()
    world.apply(flow.Sum)
    assert threading.active_count() == before
