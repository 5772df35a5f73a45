"""A user's script: pipes with parameters, and the verbs, with every type said."""

from __future__ import annotations

import sys

import luigi

import bundlerun as br
from bundlerun import errors


class Numbers(br.Pipe):
    """The first whole numbers."""

    count = luigi.IntParameter(default=3)
    label = luigi.Parameter(default="n")

    def pipe_run(self, pipeline_input: object) -> list[int]:
        return list(range(self.count))


class Total(br.Pipe):
    """Their sum."""

    top = luigi.IntParameter(default=3)

    def requires(self) -> dict[str, br.Pipe | br.External]:
        return {"numbers": Numbers(count=self.top), "offset": br.external("offset")}

    def pipe_run(self, pipeline_input: object, numbers: list[int], offset: int) -> int:
        (self.scratch / "note.txt").write_text(str(numbers))
        return sum(numbers) + offset


def made(workspace: br.Workspace, top: int) -> br.Bundle:
    """The sum of the numbers below ``top``, found or made."""
    options = br.ApplyOptions(workers=2, output_tags={"top": str(top)})
    return workspace.apply(None, "total", Total, {"top": top}, options)


def main(store: str) -> None:
    """Every verb of a first day."""
    pipe = Total(top=5)
    top: int = pipe.top
    with br.open(store=store) as workspace:
        offset: br.Bundle = workspace.add("offset", 10, tags={"by": "hand"}, commit=True)
        bundle = made(workspace, top)
        value: int = workspace.get(bundle)
        found: br.Bundle | None = workspace.find("total")
        if found is None:
            raise errors.BundleNotFound("total")
        print(value, bundle.value, bundle.tags["top"], offset.id, found.lineage.pipe)
        for each in workspace.ls(all_versions=True):
            print(each.name, each.committed, each.version)
        changes: br.Differences = workspace.diff(bundle, found)
        print(changes.equal, [change.where for change in changes.changes])
        tree: br.LineageTree = workspace.lineage(bundle)
        print([parent.name for parent in tree.parents])


def far(top: int) -> int | None:
    """The same in a container."""
    options = br.RunOptions(backend="AWSBatch", vcpus=2, memory_mib=4096)
    plan: br.RunPlan = br.plan(None, "total", "flow.Total", {"top": top}, options)
    run: br.Run = br.submit(None, "total", "flow.Total", {"top": top}, options, force=True)
    for line in run.logs(follow=True):
        print(line)
    result: br.RunResult = run.result()
    jobs: list[br.RunRecord] = br.jobs(limit=5)
    print(plan.backend, [job for job in jobs if job.state is not br.JobState.LOST])
    return None if result.output is None else int(result.output.value)


def half(number: int, by: float = 2.0) -> float:
    """Anything that can be called."""
    return number / by


def mapped(numbers: list[int]) -> float:
    """The same for many inputs."""
    run: br.MapRun[float] = br.map(half, numbers, backend="AWSBatch", chunksize=10)
    first: br.Future[float] = run[0]
    some: list[br.Future[float]] = run[1:3]
    total: float = first.result(timeout=60) + sum(run.results())
    for future in br.as_completed(run):
        total += future.result()
    both: list[float | BaseException] = list(run.results(return_exceptions=True))
    with br.Executor(backend="AWSBatch") as executor:
        submitted: br.Future[float] = executor.submit(half, 3, by=1.5)
        total += submitted.result() + max(executor.map(half, numbers))
    with br.open() as workspace:
        total += workspace.map(half, numbers)[0].result()
        total += sum(workspace.starmap(half, [(1, 2.0)]).results())
    print(len(some), len(both), first.stdout, first.attempts, run.tally()["failed"])
    return total


if __name__ == "__main__":
    main(sys.argv[1])
