"""bundlerun: pipeline classes in containers, versioned data in, a new version out.

``import bundlerun as br`` gives the verbs of ``bundlerun.api``; nothing slow is imported before a
name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bundlerun import errors
    from bundlerun.api import (
        add,
        apply,
        bind_remote,
        cancel,
        commit,
        context_create,
        context_delete,
        context_list,
        diff,
        dockerize,
        doctor,
        find,
        fsck,
        gc,
        get,
        latest,
        lineage,
        list_jobs,
        list_remote_jobs,
        logs,
        open,
        outline,
        pull,
        push,
        remove,
        run,
        search,
        switch,
        tag,
        to_remove,
        verify,
        view,
        wait,
        why,
        write_build_context,
    )
    from bundlerun.api.workspace import Workspace
    from bundlerun.bundles.record import Bundle
    from bundlerun.bundles.value.files import Directory, File
    from bundlerun.pipelines.pipe import Pipe, external

_ELSEWHERE = {
    "Bundle": "bundlerun.bundles.record",
    "Directory": "bundlerun.bundles.value.files",
    "File": "bundlerun.bundles.value.files",
    "Pipe": "bundlerun.pipelines.pipe",
    "Workspace": "bundlerun.api.workspace",
    "external": "bundlerun.pipelines.pipe",
}

__all__ = [
    "Bundle",
    "Directory",
    "File",
    "Pipe",
    "Workspace",
    "add",
    "apply",
    "bind_remote",
    "cancel",
    "commit",
    "context_create",
    "context_delete",
    "context_list",
    "diff",
    "dockerize",
    "doctor",
    "errors",
    "external",
    "find",
    "fsck",
    "gc",
    "get",
    "latest",
    "list_jobs",
    "list_remote_jobs",
    "lineage",
    "logs",
    "open",
    "outline",
    "pull",
    "push",
    "remove",
    "run",
    "search",
    "switch",
    "tag",
    "to_remove",
    "verify",
    "view",
    "wait",
    "why",
    "write_build_context",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("bundlerun.errors")
    if name not in __all__:
        raise AttributeError(f"module 'bundlerun' has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "bundlerun.api")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
