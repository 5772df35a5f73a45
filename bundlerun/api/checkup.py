"""The checks of ``doctor``: each looks at one thing and names its cure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from bundlerun.backends.base import Check, checked, failing
from bundlerun.backends.open import all_backends, open_backend
from bundlerun.errors import BundlerunError, NoRemote
from bundlerun.store.spare import has_room

if TYPE_CHECKING:
    from bundlerun.api.scope import Scope


def checkup(scope: Scope) -> list[Check]:
    """Every check, in the order in which a run needs them.

    All that is written is an empty key on the remote, which is there since the remote was bound.
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: ".".join(map(str, sys.version_info[:3]))),
        ("store", partial(_store, scope)),
        ("context", lambda: scope.context().name),
    ]
    return [
        *(checked(what, look) for what, look in checks),
        *_backends(scope),
        checked("builder", _builder),
        *_remote(scope),
        *_images(scope),
    ]


def _store(scope: Scope) -> str:
    path = scope.store.path
    if not scope.store.read_only and not has_room(path):
        raise BundlerunError(f"no space left for the store {path}", hint=f"df -h {path}")
    # Not a fault: an archive is meant to be so.
    return f"{path}, read-only: it can be read, not written" if scope.store.read_only else str(path)


def _builder() -> str:
    from bundlerun.images.builders import buildkit_command

    return "BuildKit" if buildkit_command() else "the classic builder"


def _images(scope: Scope) -> Iterator[Check]:
    try:
        names = scope.store.noted_images.names()
    except BundlerunError:
        return  # what stands under "store" says it
    if not names:
        cure = "bundlerun dockerize PIPE_ROOT pkg.module.Pipe"
        yield Check("image", None, "none has been made with this store", cure)
    for name in names:
        yield checked("image", partial(_image, scope, name))


def _image(scope: Scope, name: str) -> str:
    from bundlerun.runs.images import ImageRequest, image_for

    noted = scope.store.noted_images.find(name) or {}
    pipe = ImageRequest.from_json(noted["request"]).pipe
    settings = scope.settings.images
    return image_for(pipe, store=scope.store, settings=settings, on_engine=True).ref.pullable


def _remote(scope: Scope) -> Iterator[Check]:
    from bundlerun.remotes.identity import check_conditional, check_remote

    context, bucket = scope.context(), scope.settings.run.bucket
    if context.remote_url is None and bucket is not None:
        detail = f"the first use of a remote binds the context {context.name!r} to {bucket}"
        yield Check(
            "remote", None, detail, f"bundlerun remote {context.name} URL (for another one)"
        )
        return
    try:
        binding = scope.binding(context)
    except NoRemote as error:
        yield failing("remote", error, ok=None)
        return
    except BundlerunError as error:
        yield failing("remote", error)
        return

    def read() -> str:
        check_remote(binding.remote, binding.uuid)
        return binding.remote.url

    def write() -> str:
        check_conditional(binding.remote)
        return "create-only writes are kept"

    yield checked("remote", read)
    yield checked("remote write", write)


def _backends(scope: Scope) -> Iterator[Check]:
    """The checks of each backend, by itself."""
    for name in all_backends():
        try:
            yield from open_backend(name, scope.connections).checks()
        except BundlerunError as error:
            yield failing(name, error)
