"""The function of a call on its way to the remote, and what it runs on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import CodeVersion
from bundlerun.futures.codec import Codec
from bundlerun.futures.payload import check_function, dump_function, name_of
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.pipelines.git import git_version
from bundlerun.runs.calls.environment import Environment, EnvironmentRequest, environment_for
from bundlerun.runs.calls.sources import Sources, sources_of
from bundlerun.runs.keys import function_key

if TYPE_CHECKING:
    from bundlerun.progress import Progress
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.calls.options import CallRequest
    from bundlerun.runs.scope import RunScope

SENT_FOR_S = 3600.0
"""How long a function that another run sent is used; a clean-up leaves it much longer."""


@dataclass(frozen=True)
class Prepared:
    """A function whose environment is there. ``name`` is how people call it."""

    name: str
    environment: Environment
    codec: Codec
    request: CallRequest
    progress: Progress


@dataclass(frozen=True)
class SentFunction:
    """A function on the remote, and its version.

    ``run_id`` is the run that it was sent with, and ``tag`` its seal by the key of this one; both
    are empty where these are the same.
    """

    code: CodeVersion
    run_id: str = ""
    tag: str = ""


Uploaded = dict[str, Any]
"""By the digest of a function that was sent: with which run, and when (monotonic seconds)."""


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
    return Prepared(name_of(request.func), environment, codec, request, scope.progress)


def send_function(
    function: Prepared, seal: Seal, remote: Remote, run_id: str, uploaded: Uploaded | None
) -> SentFunction:
    """Send the function, unless ``uploaded`` has it.

    With it go the sources that it and the items need. Raises BadValue for what cannot be pickled or
    is too large, RemoteErrors.
    """
    sources, payload = _payload(function)
    code, now_s = _code(sources), time.monotonic()
    digest = digest_of(payload)
    earlier = None if uploaded is None else uploaded.get(digest)
    if earlier is not None and now_s - earlier[1] < SENT_FOR_S:
        return SentFunction(code, earlier[0], seal.tag(Sealed.FUNCTION, 0, payload).hex())
    for left in sources.left_out:
        function.progress.line(f"left out of what {function.name} takes along: {left}")
    remote.put(function_key(run_id), seal.sealed(Sealed.FUNCTION, 0, payload))
    if uploaded is not None:
        uploaded[digest] = (run_id, now_s)
    return SentFunction(code)


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
