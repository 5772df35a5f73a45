"""The verbs, on the workspace that the settings name.

Each has the signature and the documentation of the Workspace method of its name. ``open`` gives a
workspace of one's own: a store path, a remote and a context, with no home folder and no
configuration.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from bundlerun.api.workspace import Workspace
from bundlerun.settings import Settings, read_settings

P = ParamSpec("P")
T = TypeVar("T")

_opened: dict[tuple[Settings, str | None], Workspace] = {}


def open(
    store: str | Path | None = None, remote: str | None = None, context: str | None = None
) -> Workspace:
    """A workspace over the store at the folder ``store``, in ``context`` (made when it is new;
    "default" unless given), bound to ``remote`` when that is given.

    Without ``store`` the settings' store is used. Raises what ``bind_remote`` raises.
    """
    settings = read_settings()
    workspace = Workspace(settings, None if store is None else Path(store), context, create=True)
    if remote is not None and workspace.context().remote_url != remote:
        workspace.bind_remote(workspace.context().name, remote)
    return workspace


def default() -> Workspace:
    """The workspace of the settings as they are now; the same object while they stay the same."""
    settings = read_settings()
    key = (settings, None)
    if key not in _opened:
        _opened.clear()
        _opened[key] = Workspace(settings)
    return _opened[key]


def _on_default(method: Callable[Concatenate[Workspace, P], T]) -> Callable[P, T]:
    @functools.wraps(method)
    def verb(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(default(), *args, **kwargs)

    # ``wraps`` makes inspect and help() read the method, whose first parameter nobody gives here.
    signature = inspect.signature(method)
    vars(verb)["__signature__"] = signature.replace(
        parameters=list(signature.parameters.values())[1:]
    )
    del vars(verb)["__wrapped__"]
    verb.__qualname__ = verb.__name__
    return verb


add = _on_default(Workspace.add)
get = _on_default(Workspace.get)
view = _on_default(Workspace.view)
find = _on_default(Workspace.find)
search = _on_default(Workspace.search)
commit = _on_default(Workspace.commit)
tag = _on_default(Workspace.tag)
remove = _on_default(Workspace.remove)
push = _on_default(Workspace.push)
pull = _on_default(Workspace.pull)
lineage = _on_default(Workspace.lineage)
fsck = _on_default(Workspace.fsck)
gc = _on_default(Workspace.gc)
diff = _on_default(Workspace.diff)
why = _on_default(Workspace.why)
verify = _on_default(Workspace.verify)
apply = _on_default(Workspace.apply)
dockerize = _on_default(Workspace.dockerize)
run = _on_default(Workspace.run)
list_jobs = _on_default(Workspace.list_jobs)
list_remote_jobs = _on_default(Workspace.list_remote_jobs)
logs = _on_default(Workspace.logs)
wait = _on_default(Workspace.wait)
cancel = _on_default(Workspace.cancel)
context_create = _on_default(Workspace.context_create)
context_list = _on_default(Workspace.context_list)
context_delete = _on_default(Workspace.context_delete)
switch = _on_default(Workspace.switch)
bind_remote = _on_default(Workspace.bind_remote)
doctor = _on_default(Workspace.doctor)
