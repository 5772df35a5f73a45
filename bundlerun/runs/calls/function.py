"""The function of a call on its way to the remote, and what it runs on."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import CodeVersion
from bundlerun.futures.codec import Codec
from bundlerun.futures.payload import check_function, dump_function, name_of
from bundlerun.futures.script import run_script
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.pipelines.git import git_version
from bundlerun.runs.calls.environment import (
    Environment,
    EnvironmentRequest,
    environment_for,
    is_inferred,
)
from bundlerun.runs.calls.sources import Sources, sources_of
from bundlerun.runs.keys import function_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from bundlerun.runs.calls.options import CallRequest
    from bundlerun.runs.scope import RunScope

SENT_FOR_S = 3600.0
"""The time for which a function that another run sent is used.

A clean-up leaves it much longer.
"""


@dataclass(frozen=True)
class Prepared:
    """A function whose environment is there.

    ``name`` is how people call it, ``wanted`` what the environment is made of, as far as the
    function itself says it.
    """

    name: str
    wanted: EnvironmentRequest
    environment: Environment
    codec: Codec
    request: CallRequest


@dataclass(frozen=True)
class SentFunction:
    """A function on the remote, its version, and what it runs on.

    ``run_id`` is the run that it was sent with, and ``tag`` its seal by the key of this one; both
    are empty where these are the same.
    """

    code: CodeVersion
    environment: Environment
    run_id: str = ""
    tag: str = ""


Uploaded = dict[str, Any]
"""The sent functions by digest: with which run, and when (monotonic seconds)."""


def prepared(request: CallRequest, scope: RunScope) -> Prepared:
    """The function of ``request``, its image found or made.

    Raises UsageError for what cannot be mapped, BadModule for sources that cannot be read, and as
    ``environment_for``.
    """
    check_function(request.func)
    if isinstance(request.image, EnvironmentRequest):
        wanted = request.image
    else:
        found = sources_of(request.func, request.kwargs)
        wanted = EnvironmentRequest(
            root=found.root,
            imports=found.imports,
            requirements=request.requirements,
            base_image=request.base_image,
            image=request.image,
        )
    environment = environment_for(wanted, request.backend, scope)
    codec = Codec.of(scope.binding, scope.progress)
    return Prepared(_name(request.func, wanted), wanted, environment, codec, request)


def _name(func: Callable[..., Any], wanted: EnvironmentRequest) -> str:
    """The subject of the run: the function, or the script that is called in its place."""
    if func is run_script and wanted.script is not None:
        return wanted.script.path.name
    return name_of(func)


def send_function(
    function: Prepared, seal: Seal, scope: RunScope, run_id: str, uploaded: Uploaded | None
) -> SentFunction:
    """Send the function, unless ``uploaded`` has it.

    With it go the sources that it and the items need; what these need besides is in its
    environment. Raises BadValue for what cannot be pickled or is too large, RemoteErrors, and as
    ``environment_for``.
    """
    sources, payload = _payload(function)
    environment = _with_items(function, sources, scope)
    code, now_s = _code(sources), time.monotonic()
    digest = digest_of(payload)
    earlier = None if uploaded is None else uploaded.get(digest)
    if earlier is not None and now_s - earlier[1] < SENT_FOR_S:
        tag = seal.tag(Sealed.FUNCTION, 0, payload).hex()
        return SentFunction(code, environment, earlier[0], tag)
    for left in sources.left_out:
        scope.progress.line(f"left out of what {function.name} takes along: {left}")
    scope.remote.put(function_key(run_id), seal.sealed(Sealed.FUNCTION, 0, payload))
    if uploaded is not None:
        uploaded[digest] = (run_id, now_s)
    return SentFunction(code, environment)


def _with_items(function: Prepared, sources: Sources, scope: RunScope) -> Environment:
    """The environment with what the items alone need, where imports decide it."""
    wanted, request = function.wanted, function.request
    is_chosen = isinstance(request.image, EnvironmentRequest) or not is_inferred(wanted)
    if is_chosen or set(sources.imports) <= set(wanted.imports):
        return function.environment
    return environment_for(replace(wanted, imports=sources.imports), request.backend, scope)


def _payload(function: Prepared) -> tuple[Sources, bytes]:
    request = function.request
    # After the items: what their pickles name travels too.
    modules = sorted(function.codec.modules)
    sources = sources_of(request.func, request.kwargs, modules)
    return sources, dump_function(request.func, request.kwargs, sources.data, function.codec)


def _code(sources: Sources) -> CodeVersion:
    """The version of the project's modules, with git's commit."""
    root = sources.root
    below = [file for file in sources.files.values() if root and file.is_relative_to(root)]
    git = git_version(root, below) if root is not None and below else None
    commit, dirty = git or (None, False)
    return CodeVersion(sources.digest, commit, dirty)
