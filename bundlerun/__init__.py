"""bundlerun: pipeline classes in containers, versioned data in, a new version out.

``import bundlerun as br`` gives the verbs of ``bundlerun.api`` and the types that they take and
return; nothing slow is imported before a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from concurrent.futures import as_completed

    from bundlerun import errors
    from bundlerun.api import (
        add,
        apply,
        attach,
        cancel,
        cat,
        commit,
        context,
        contexts,
        delete_context,
        diff,
        dockerize,
        doctor,
        find,
        fsck,
        gc,
        get,
        jobs,
        lineage,
        logs,
        ls,
        map,
        open,
        plan,
        pull,
        push,
        remote,
        rm,
        run,
        starmap,
        submit,
        switch,
        tag,
        verify,
        view,
        wait,
        why,
        write_build_context,
    )
    from bundlerun.api.bundle import Bundle
    from bundlerun.api.docker_image import DockerImage
    from bundlerun.api.executor import Executor
    from bundlerun.api.handle import Run, RunResult
    from bundlerun.api.knots import Knot, Pars
    from bundlerun.api.workspace import Workspace
    from bundlerun.backends.base import Check
    from bundlerun.backends.job import JobState
    from bundlerun.bundles.lineage import Lineage, LineageTree, Parent
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.bundles.value.differences import Differences
    from bundlerun.bundles.value.files import Directory, File
    from bundlerun.bundles.value.view import View
    from bundlerun.futures.future import Future, MapRun
    from bundlerun.images.described import Described
    from bundlerun.images.image import ImageInfo
    from bundlerun.pipelines.options import ApplyOptions
    from bundlerun.pipelines.pipe import External, Pipe, external
    from bundlerun.pipelines.why import Why
    from bundlerun.progress import Progress
    from bundlerun.remotes.push import PushReport
    from bundlerun.runs.calls.options import MapOptions
    from bundlerun.runs.options import RunOptions
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.task import CallTask, PipeTask
    from bundlerun.settings import Settings
    from bundlerun.store.contexts import Context
    from bundlerun.store.reports import Finding, GcReport, Proof

_ELSEWHERE = {
    "ApplyOptions": "bundlerun.pipelines.options",
    "Bundle": "bundlerun.api.bundle",
    "BundleRecord": "bundlerun.bundles.record",
    "CallTask": "bundlerun.runs.task",
    "Check": "bundlerun.backends.base",
    "Context": "bundlerun.store.contexts",
    "Described": "bundlerun.images.described",
    "Differences": "bundlerun.bundles.value.diff",
    "Directory": "bundlerun.bundles.value.files",
    "DockerImage": "bundlerun.api.docker_image",
    "Executor": "bundlerun.api.executor",
    "External": "bundlerun.pipelines.pipe",
    "File": "bundlerun.bundles.value.files",
    "Finding": "bundlerun.store.reports",
    "Future": "bundlerun.futures.future",
    "GcReport": "bundlerun.store.reports",
    "ImageInfo": "bundlerun.images.image",
    "JobState": "bundlerun.backends.job",
    "Knot": "bundlerun.api.knots",
    "Lineage": "bundlerun.bundles.lineage",
    "LineageTree": "bundlerun.bundles.lineage",
    "MapOptions": "bundlerun.runs.calls.options",
    "MapRun": "bundlerun.futures.future",
    "Parent": "bundlerun.bundles.lineage",
    "Pars": "bundlerun.api.knots",
    "Pipe": "bundlerun.pipelines.pipe",
    "PipeTask": "bundlerun.runs.task",
    "Progress": "bundlerun.progress",
    "Proof": "bundlerun.store.reports",
    "PushReport": "bundlerun.remotes.push",
    "Run": "bundlerun.api.handle",
    "RunOptions": "bundlerun.runs.options",
    "RunPlan": "bundlerun.runs.plan",
    "RunRecord": "bundlerun.runs.record",
    "RunResult": "bundlerun.api.handle",
    "Settings": "bundlerun.settings",
    "View": "bundlerun.bundles.value.view",
    "Why": "bundlerun.pipelines.why",
    "Workspace": "bundlerun.api.workspace",
    "as_completed": "concurrent.futures",
    "external": "bundlerun.pipelines.pipe",
}

__all__ = [
    "ApplyOptions",
    "Bundle",
    "BundleRecord",
    "CallTask",
    "Check",
    "Context",
    "Described",
    "Differences",
    "Directory",
    "DockerImage",
    "Executor",
    "External",
    "File",
    "Finding",
    "Future",
    "GcReport",
    "ImageInfo",
    "JobState",
    "Knot",
    "Lineage",
    "LineageTree",
    "MapOptions",
    "MapRun",
    "Parent",
    "Pars",
    "Pipe",
    "PipeTask",
    "Progress",
    "Proof",
    "PushReport",
    "Run",
    "RunOptions",
    "RunPlan",
    "RunRecord",
    "RunResult",
    "Settings",
    "View",
    "Why",
    "Workspace",
    "add",
    "apply",
    "as_completed",
    "attach",
    "cancel",
    "cat",
    "commit",
    "context",
    "contexts",
    "delete_context",
    "diff",
    "dockerize",
    "doctor",
    "errors",
    "external",
    "find",
    "fsck",
    "gc",
    "get",
    "jobs",
    "lineage",
    "logs",
    "ls",
    "map",
    "open",
    "plan",
    "pull",
    "push",
    "remote",
    "rm",
    "run",
    "starmap",
    "submit",
    "switch",
    "tag",
    "verify",
    "view",
    "wait",
    "why",
    "write_build_context",
]


if not TYPE_CHECKING:  # A checker would take any name for one that is here.

    def __getattr__(name: str) -> Any:
        if name == "errors":
            return importlib.import_module("bundlerun.errors")
        if name not in __all__:
            raise AttributeError(f"module 'bundlerun' has no attribute {name!r}")
        return getattr(importlib.import_module(_ELSEWHERE.get(name, "bundlerun.api")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
