"""What the local engine does with arrays beyond the common promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from bundlerun.backends.base import INDEX
from bundlerun.backends.job import JobHandle, JobSpec, JobState, Resources
from bundlerun.backends.local_docker import LARGEST_ARRAY, LocalDocker
from bundlerun.docker_engine import docker_host
from bundlerun.errors import EngineError, ImagePull
from tests.backends.harness import LocalHarness
from tests.backends.test_local_docker import Relay, containers_of
from tests.faults.proxy import Fault, FaultProxy


def array(local: LocalHarness, program: str, size: int, **changes: Any) -> JobSpec:
    """An array of jobs that run ``program``, in which INDEX is each one's own."""
    told = f"import os; INDEX = int(os.environ[{INDEX!r}])"
    return local.spec(f"{told}\n{program}", array=size, **changes)


@contextmanager
def engine_by(
    monkeypatch: pytest.MonkeyPatch, choose: Callable[[str, str], Fault]
) -> Iterator[None]:
    """Reach the engine by a proxy that makes a fault of what ``choose`` says."""
    relay = Relay(docker_host())
    relay.start()
    with FaultProxy(relay.url, choose) as proxy:
        monkeypatch.setenv("DOCKER_HOST", proxy.url.replace("http://", "tcp://"))
        yield
        monkeypatch.delenv("DOCKER_HOST")
    relay.server.close()


def test_a_look_at_arrays_is_one_listing(
    local: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many jobs and arrays: no inspection of each."""
    handles = [local.submit(array(local, "raise SystemExit(INDEX)", 4)) for _ in range(2)]
    for handle in handles:
        local.end(handle)
    asked: list[str] = []

    def choose(method: str, path: str) -> Fault:
        asked.append(path.split("?")[0].rpartition("/")[2])
        return Fault.NONE

    with engine_by(monkeypatch, choose):
        backend = LocalDocker(local.settings)
        # The first request asks for the engine's version.
        backend.room(Resources())
        asked.clear()
        looks = backend.poll(handles)
    assert [looks[handle.id].tally for handle in handles] == [
        {JobState.SUCCEEDED: 1, JobState.FAILED: 3}
    ] * 2
    assert asked == ["json"]


def test_an_array_that_was_not_made_whole_has_not_begun(
    local: LocalHarness, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine goes away between two of its containers; what is there is used by the next."""
    spec = array(local, "print('job', INDEX)", 3)
    created: list[str] = []

    def choose(method: str, path: str) -> Fault:
        if method == "POST" and path.split("?")[0].endswith("/containers/create"):
            created.append(path)
        return Fault.RESET if len(created) > 1 else Fault.NONE

    with engine_by(monkeypatch, choose), pytest.raises(EngineError):
        LocalDocker(local.settings).submit(spec)
    (first,) = containers_of(engine, spec.run_id)
    assert first.status == "created"
    assert local.backend().find(spec.run_id, spec.name) is None
    handle = local.submit(spec)
    assert first.id in {container.id for container in containers_of(engine, spec.run_id)}
    assert local.end(handle).state is JobState.SUCCEEDED
    assert list(local.backend().logs(handle)) == ["job 0", "job 1", "job 2"]


@pytest.mark.parametrize("step", ["/containers/create", "/start"])
def test_an_array_of_which_an_answer_is_lost_is_whole(
    local: LocalHarness, engine: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The second of three answers never comes: no job is made or started twice."""
    seen: list[str] = []

    def choose(method: str, path: str) -> Fault:
        if method != "POST" or not path.split("?")[0].endswith(step):
            return Fault.NONE
        seen.append(path)
        return Fault.DROPPED if len(seen) == 2 else Fault.NONE

    spec = array(local, "print('job', INDEX)", 3)
    with engine_by(monkeypatch, choose):
        handle = LocalDocker(local.settings).submit(spec)
    local.handles.append(handle)
    assert len(seen) >= 3
    assert local.end(handle).state is JobState.SUCCEEDED
    assert len(containers_of(engine, spec.run_id)) == 3
    assert list(local.backend().logs(handle)) == ["job 0", "job 1", "job 2"]


def test_an_array_submitted_by_many_at_once_is_one(local: LocalHarness, engine: Any) -> None:
    """Four submissions of one part race: each job has one container, started once."""
    spec = array(local, "print('job', INDEX)", 3)
    with ThreadPoolExecutor(4) as pool:
        handles = list(pool.map(lambda _: local.backend().submit(spec), range(4)))
    local.handles.append(handles[0])
    assert handles == [handles[0]] * 4
    assert len(containers_of(engine, spec.run_id)) == 3
    assert local.end(handles[0]).state is JobState.SUCCEEDED
    assert list(local.backend().logs(handles[0])) == ["job 0", "job 1", "job 2"]


def test_an_array_that_cannot_start_leaves_no_container(local: LocalHarness, engine: Any) -> None:
    """Nobody would know of them; nor are any made of an image that is missing."""
    local.user = "no-such-user"
    spec = array(local, "", 3)
    with pytest.raises(EngineError, match="no-such-user"):
        local.submit(spec)
    with pytest.raises(ImagePull):
        local.submit(replace(spec, image="bundlerun-no-such-image:latest"))
    assert containers_of(engine, spec.run_id) == []


def test_a_released_array_leaves_no_container_and_no_other_part_goes(
    local: LocalHarness, engine: Any
) -> None:
    """Running or not."""
    spec = array(local, "import time; time.sleep(50)", 3)
    handle, other = local.submit(spec), local.submit(replace(spec, part=1, array=2))
    local.backend().release(handle)
    assert len(containers_of(engine, spec.run_id)) == 2
    looks = local.backend().poll([handle, other])
    assert (looks[handle.id].state, looks[handle.id].tally) == (JobState.LOST, {JobState.LOST: 3})
    assert looks[other.id].tally == {JobState.RUNNING: 2}


def test_a_container_of_an_array_that_somebody_removed_is_lost(
    local: LocalHarness, engine: Any
) -> None:
    """The others are counted, and the array has failed by it."""
    handle = local.submit(array(local, "", 3))
    local.end(handle)
    name = f"{handle.id}.1"
    engine.containers.get(name).remove()
    status = local.backend().poll([handle])[handle.id]
    assert status.state is JobState.FAILED
    assert status.tally == {JobState.SUCCEEDED: 2, JobState.LOST: 1}
    assert "1 lost" in status.reason
    failed = local.backend().failed(handle)
    assert {at: one.state for at, one in failed.items()} == {1: JobState.LOST}
    assert list(local.backend().logs(handle, index=1)) == []


def test_an_array_of_another_engine_is_elsewhere(local: LocalHarness) -> None:
    """Its host is named, by looks and by what would change it."""
    at = {"engine": "another", "host": "far-host"}
    far = JobHandle("Local", "bundlerun-x.0", "x", at, array=3)
    assert local.backend().poll([far])[far.id].state is JobState.ELSEWHERE
    for act in (
        lambda: local.backend().cancel(far, "over"),
        lambda: local.backend().failed(far),
        lambda: list(local.backend().logs(far)),
    ):
        with pytest.raises(EngineError, match="far-host"):
            act()


def test_room_is_by_the_engine_s_cpus_and_memory(local: LocalHarness, engine: Any) -> None:
    """The one of which there is less decides; a larger job than that runs alone."""
    info, backend = engine.info(), local.backend()
    cpus, memory_mib = info["NCPU"], info["MemTotal"] // 2**20
    assert backend.room(Resources(1, 1)) == cpus
    assert backend.room(Resources(0.5, 1)) == 2 * cpus
    assert backend.room(Resources(0.001, memory_mib // 3)) == 3
    assert backend.room(Resources(4096, 1)) == backend.room(Resources(1, 10**9)) == 1
    assert backend.room(Resources(1e-9, 1)) == LARGEST_ARRAY


def test_each_job_of_an_array_has_the_limits_of_one(local: LocalHarness, engine: Any) -> None:
    """Memory and CPUs are each one's own."""
    handle = local.submit(array(local, "", 2, resources=Resources(1, 64)))
    for at in range(2):
        limits = engine.api.inspect_container(f"{handle.id}.{at}")["HostConfig"]
        assert (limits["Memory"], limits["NanoCpus"]) == (64 * 2**20, 10**9)
    local.end(handle)
