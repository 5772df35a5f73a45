"""The verbs, on the workspace that the settings name.

Each is the Workspace method of its name. ``open`` gives a workspace of one's own: a store path, a
remote and a context, with no home folder and no configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bundlerun.api.workspace import Workspace
from bundlerun.settings import GRACE_S, Settings, read_settings

if TYPE_CHECKING:
    from bundlerun.api.bundle import Bundle
    from bundlerun.api.docker_image import DockerImage
    from bundlerun.api.handle import Run, RunResult
    from bundlerun.backends.base import Check
    from bundlerun.bundles.lineage import LineageTree
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.bundles.value.differences import Differences
    from bundlerun.futures.future import MapRun
    from bundlerun.images.image import ImageInfo
    from bundlerun.pipelines.options import ApplyOptions
    from bundlerun.pipelines.pipe import Pipe
    from bundlerun.pipelines.why import Why
    from bundlerun.remotes.push import PushReport
    from bundlerun.runs.calls.options import MapOptions
    from bundlerun.runs.options import RunOptions
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.record import RunRecord
    from bundlerun.store.contexts import Context
    from bundlerun.store.reports import GcReport, Proof

T = TypeVar("T")

_opened: list[tuple[Settings, Workspace]] = []


def open(
    store: str | Path | None = None, remote: str | None = None, context: str | None = None
) -> Workspace:
    """A workspace over the store at the folder ``store``, in ``context``.

    The context is made when it is new ("default" unless given), and bound to ``remote`` when that
    is given. Without ``store`` the settings' store is used. Raises what ``remote`` raises.
    """
    settings = read_settings()
    workspace = Workspace(settings, None if store is None else Path(store), context, create=True)
    found = workspace.scope.context()
    if remote is not None and found.remote_url != remote:
        workspace.remote(found.name, remote)
    return workspace


def default() -> Workspace:
    """The workspace of the settings as they are now.

    It is the same object while they stay the same.
    """
    settings = read_settings()
    for known, workspace in _opened:
        # Settings that did not change are one object: they are not compared field by field.
        if known is settings or known == settings:
            return workspace
    workspace = Workspace(settings)
    _opened[:] = [(settings, workspace)]
    return workspace


def add(
    name: str,
    value: object,
    *,
    tags: Mapping[str, str] | None = None,
    commit: bool = False,
    reread: bool = False,
) -> Bundle:
    """A new version of ``name`` with this value, kept whole or not at all.

    A file that did not change since it was read last is not read again; with ``reread`` it is.

    Raises BadName, BadValue (naming the place in the value that cannot be kept) or BadPath.
    """
    return default().add(name, value, tags=tags, commit=commit, reread=reread)


def get(name: str | BundleRecord, *, tags: Mapping[str, str] | None = None) -> Any:
    """The value of the bundle ``name``, equal to what went in.

    Bytes that are not on this disk come from the remote when they are touched. Raises
    BundleNotFound, IntegrityError.
    """
    return default().get(name, tags=tags)


def view(name: str | BundleRecord, *, tags: Mapping[str, str] | None = None) -> Any:
    """The value of the bundle ``name`` as a read-only View.

    Dicts, lists and tuples are views, each leaf is brought and made when it is first touched,
    and ``.value`` makes all of a part. Raises as ``get``, later as things are touched.
    """
    return default().view(name, tags=tags)


def find(name: str | BundleRecord, *, tags: Mapping[str, str] | None = None) -> Bundle | None:
    """The record of the bundle ``name``, or None.

    It is the latest, or the one of ``name@id-prefix``, among those with all of ``tags``. Raises
    BadName for tags that cannot be, UsageError where several ids start so.
    """
    return default().find(name, tags=tags)


def ls(
    name: str | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    committed: bool | None = None,
    all_versions: bool = False,
) -> list[Bundle]:
    """The latest version of each name, by name.

    With a ``name``, ``tags`` or ``committed``: every version, newest first, that has this
    exact name, all of the tags, and is committed or not. ``all_versions``: every version of
    every name.
    """
    return default().ls(name, tags=tags, committed=committed, all_versions=all_versions)


def cat(name: str | BundleRecord) -> Any:
    """The outline of the bundle ``name``: type names, sizes and short values.

    The bytes of its files are not read.
    """
    return default().cat(name)


def commit(name: str | BundleRecord) -> Bundle:
    """Mark the bundle ``name`` to be kept.

    To commit it again does nothing. Raises BundleNotFound.
    """
    return default().commit(name)


def tag(name: str | BundleRecord, tags: Mapping[str, str]) -> Bundle:
    """Set ``tags`` on the bundle ``name``, over those of the same key.

    The next push sends them. Raises BundleNotFound.
    """
    return default().tag(name, tags)


def rm(
    name: str | BundleRecord,
    *,
    old: bool = False,
    all: bool = False,
    remote: bool = False,
    dry_run: bool = False,
) -> list[Bundle]:
    """Remove here the bundle ``name``; return what was removed.

    With ``all`` every version of the name, with ``old`` all but the latest. With ``dry_run``
    nothing is removed, and what would be is returned.

    With ``remote`` on the context's remote too, for everybody: nobody gets it as the latest
    again; ``gc(remote=True)`` frees the space. What was made of it keeps its lineage. Raises
    BundleNotFound when there is none, and with ``remote`` NoRemote and RemoteErrors.
    """
    return default().rm(name, old=old, all=all, remote=remote, dry_run=dry_run)


def push(name: str | BundleRecord | None = None) -> PushReport:
    """Send the bundle ``name`` with its ancestors and older versions to the remote.

    Without a ``name``: everything committed, and every tag, that is not there yet.

    Raises NoRemote, NotCommitted, RemoteError.
    """
    return default().push(name)


def pull(
    name: str | BundleRecord | None = None,
    *,
    localize: bool = False,
    all_versions: bool = False,
    paths: Sequence[str] = (),
) -> list[Bundle]:
    """Bring the records of ``name``, or of every name, from the remote.

    The latest version or ``all_versions``; with ``localize`` also the bytes.

    ``paths`` (with ``localize``): only the parts whose path in the value fits one of them, as
    ``raw/flights.csv``, ``images/*`` or ``models``: keys, indexes and a folder's relative paths
    joined by ``/``; ``*``, ``?`` and ``[...]`` as in a shell, over ``/`` too.

    Raises BundleNotFound when the remote has no such name or the value no such path,
    IntegrityError for what is damaged.
    """
    return default().pull(name, localize=localize, all_versions=all_versions, paths=paths)


def lineage(name: str | BundleRecord) -> LineageTree:
    """The bundle ``name`` and its ancestors.

    As far as they are known here and, for what other machines and containers made, on the
    remote, of which only records are read.
    """
    return default().lineage(name)


def diff(old: str | BundleRecord, new: str | BundleRecord) -> Differences:
    """The differences between the values of the bundles ``old`` and ``new``.

    Both are names or ``name@id-prefix``. Of what is not on this disk only nodes are fetched,
    and tables of up to 16 MiB to tell their columns.

    Raises BundleNotFound, IntegrityError, RemoteErrors.
    """
    return default().diff(old, new)


def why(name: str | BundleRecord) -> Why:
    """The reason why the bundle ``name`` was made instead of found.

    Which parts of its reuse key differ from those of the nearest earlier version (of its name,
    else of its pipe), and in what.

    Raises BundleNotFound.
    """
    return default().why(name)


def verify(first: str | BundleRecord, second: str | BundleRecord) -> None:
    """Check that two bundles of the same work have equal values.

    Raises NotDeterministic, which names the pipes whose outputs differ although what went into
    them is equal; BundleNotFound.
    """
    default().verify(first, second)


def apply(
    input: str | BundleRecord | None,
    output: str,
    pipe: type[Pipe] | str,
    params: Mapping[str, Any] | None = None,
    options: ApplyOptions | None = None,
    **more: Any,
) -> Bundle:
    """Run the pipe here on the bundle ``input``; return the bundle ``output``.

    The ``output`` may be equal work that was found. None or "-" as ``input``: without one.

    ``pipe`` is a Pipe class or ``package.module.Class``; ``params`` are the pipe's. ``options``
    and keywords of the same names say how it is done:
    ``apply("in", "out", "pkg.module.Pipe", {"top": 5}, workers=2, force=True)``.

    Raises UserError when the pipe raises, BadParameter, BadModule, BundleNotFound,
    SettingsError where a luigi file sets what the pipeline's classes have.
    """
    return default().apply(input, output, pipe, params, options, **more)


def dockerize(
    pipe_root: str | Path,
    pipe: str,
    *,
    push: bool = False,
    config_dir: str | Path | None = None,
    base_image: str | None = None,
    platform: str | None = None,
) -> ImageInfo:
    """Make the image of the module of ``pipe`` (``package.module.Class``).

    The module is found below ``pipe_root``; unchanged content is not built again. ``push``
    sends the image to the registry that the settings name. Raises BadModule, EngineError,
    BuildFailed.
    """
    return default().dockerize(
        pipe_root, pipe, push=push, config_dir=config_dir, base_image=base_image, platform=platform
    )


def write_build_context(
    folder: str | Path,
    pipe_root: str | Path,
    pipe: str,
    *,
    config_dir: str | Path | None = None,
    base_image: str | None = None,
    platform: str | None = None,
) -> Path:
    """Write the build context of ``dockerize`` to the new folder ``folder``.

    That is what would be sent to the engine, the Dockerfile included; nothing is built. Returns
    the Dockerfile's path.
    """
    return default().write_build_context(
        folder, pipe_root, pipe, config_dir=config_dir, base_image=base_image, platform=platform
    )


def plan(
    input: str | BundleRecord | None,
    output: str,
    pipe: type[Pipe] | str,
    params: Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
    **more: Any,
) -> RunPlan:
    """The plan of ``run`` with the same arguments; nothing is submitted or changed.

    Raises as ``run``, before anything is done.
    """
    return default().plan(input, output, pipe, params, options, **more)


def submit(
    input: str | BundleRecord | None,
    output: str,
    pipe: type[Pipe] | str,
    params: Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
    **more: Any,
) -> Run:
    """Submit the run, and return it without waiting for its end.

    Raises as ``run``, before anything is done, and where nothing could be submitted.
    """
    return default().submit(input, output, pipe, params, options, **more)


def run(
    input: str | BundleRecord | None,
    output: str,
    pipe: type[Pipe] | str,
    params: Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
    **more: Any,
) -> RunResult:
    """Run the pipe in its container, wait, and bring back ``output``.

    ``submit`` does the same without the waiting.

    ``pipe`` is a Pipe class or ``package.module.Class``; ``params`` are the pipe's. ``options``
    and keywords of the same names say how it is done:
    ``run("in", "out", "pkg.module.Pipe", {"top": 5}, backend="AWSBatch", force=True)``.
    Equal work is found instead of done again, unless ``force`` (the last pipe) or ``force_all``
    (every pipe). An equal run for the same ``output`` that is under way, also one that another
    store submitted, is followed instead, unless either is given.

    Raises what the run failed of (a RunFailed), and before anything is done: BadModule,
    BadParameter, BundleNotFound, NotCommitted, ImageNotFound, StaleImage, NoRemote, UsageError.
    """
    return default().run(input, output, pipe, params, options, **more)


def map(
    func: Callable[..., T] | DockerImage,
    /,
    *iterables: Iterable[Any],
    options: MapOptions | None = None,
    **more: Any,
) -> MapRun[T]:
    """Call ``func`` with each item of ``iterables``, as ``map`` does, on a backend.

    A sequence of futures, in the order of the items; the function is called in containers, with
    the modules of its project, and nothing is waited for. ``options`` and keywords of the same
    names say how: ``map(f, items, backend="AWSBatch", chunksize=10, memory_mib=4096)``; see
    ``help(bundlerun.MapOptions)``. ``func`` may be a DockerImage: what that is for is called, a
    script with a list of arguments an item.

    Nothing is submitted where an iterable raises. Raises, before anything is sent, UsageError
    for what cannot be meant, NoRemote; then BadValue for an item that cannot travel,
    NotCommitted for a bundle among the items, EngineError, BuildFailed, CloudError,
    RemoteErrors, SubmitUnknown.
    """
    return default().map(func, *iterables, options=options, **more)


def starmap(
    func: Callable[..., T] | DockerImage,
    tuples: Iterable[tuple[Any, ...]],
    /,
    options: MapOptions | None = None,
    **more: Any,
) -> MapRun[T]:
    """Call ``func`` with the arguments of each of ``tuples``, on a backend.

    As ``map``, with inputs that are tuples of positional arguments already.
    """
    return default().starmap(func, tuples, options, **more)


def attach(run_id: str, trust: bool = False) -> MapRun[Any]:
    """The futures of a map that was begun before, by any process or machine.

    A submit that broke off is gone on with. Pickles among the results are opened where the
    run's key proves them: it is in this store's journal, or known to the run's jobs while their
    backend remembers them; else they raise Untrusted, unless ``trust``.

    Raises RunNotFound, UsageError for the run of a pipe, IntegrityError for what the run did
    not write, and as ``map``.
    """
    return default().attach(run_id, trust)


def jobs(
    run: str | None = None,
    *,
    limit: int | None = None,
    before: str | None = None,
    remote: bool = False,
) -> list[RunRecord]:
    """The runs of this context, newest first, with their present states.

    With a run id, or its beginning, that run, also one that another store submitted to the
    context's remote.

    ``limit`` is how many at most (None: all); ``before``, the id of a run: those older than
    that one. With ``remote`` all runs of the context's remote: two to
    four requests a run, and nothing is written.

    Raises RunNotFound, and with ``remote`` NoRemote.
    """
    return default().jobs(run, limit=limit, before=before, remote=remote)


def logs(run: str, *, follow: bool = False) -> Iterator[str]:
    """The lines that a run's job wrote, of a map with ``RUN:INDEX`` those of one item.

    Once the backend has forgotten the job, those that its envelope kept. Raises RunNotFound,
    UsageError for an item that the run does not have.
    """
    return default().logs(run, follow=follow)


def wait(run: str) -> RunResult:
    """Wait for a run's end and bring its output home, where it makes one.

    From any process of any store that is bound to the run's remote.

    Raises a RunFailed when it failed, RunNotFound, EngineError for a run on another machine's
    own engine, which cannot be asked from here.
    """
    return default().wait(run)


def cancel(run: str) -> RunRecord:
    """Stop a run's job, and return the run's record.

    A run that has ended is left as it is.

    One that is being submitted at this moment is stopped by its submitter. Raises
    Conflict, and does nothing, where the job that is noted for the run is not one of it.
    """
    return default().cancel(run)


def context(name: str) -> Context:
    """Make a context; the first one is chosen.

    Raises Conflict where it exists.
    """
    return default().context(name)


def contexts() -> list[Context]:
    """All contexts of the store, by name."""
    return default().contexts()


def delete_context(name: str, *, force: bool = False) -> None:
    """Delete the context ``name`` and its bundles here; its remote stays as it is.

    The remote keeps what was pushed. Raises Conflict when it has committed bundles that were
    never pushed, unless ``force``.
    """
    default().delete_context(name, force=force)


def switch(name: str) -> Context:
    """Choose the context for later verbs.

    Raises ContextNotFound.
    """
    return default().switch(name)


def remote(context: str, url: str, *, rebind: bool = False) -> Context:
    """Bind ``context`` to the remote at ``url``, once reading and writing there work.

    What was pushed to, and pulled from, a remote is known by the remote itself, whatever its
    address, also when the context is bound to it again later. Raises UsageError for a bad URL,
    RemoteError when it cannot be used, and OtherRemote, with what would be left
    behind, where the context is bound to another remote, unless ``rebind``.
    """
    return default().remote(context, url, rebind=rebind)


def fsck(*, remote: bool = False, repair: bool = False) -> Proof:
    """Check every byte of this store, or with ``remote`` of the context's remote.

    Every object, record and pack is read and hashed. ``repair`` mends what can be mended, the
    store from other copies on this disk and from the remotes of its contexts, a remote from
    this store; what is damaged here goes to ``quarantine/``, never away.

    Raises NoRemote, RemoteChanged, RemoteErrors, StoreBusy; damage is what it returns.
    """
    return default().fsck(remote=remote, repair=repair)


def gc(*, remote: bool = False, delete: bool = False, grace_s: float = GRACE_S) -> GcReport:
    """Find unused data of this store, or with ``remote`` of the context's remote.

    That is what no bundle of any context, or no version there, uses and what is older than
    ``grace_s`` seconds; ``delete`` deletes it.

    A remote takes two calls: the first condemns packs, one that comes ``wait_s`` seconds later
    deletes them, so that a push at the same moment loses nothing. Raises IntegrityError for
    damage that hides what is used (then nothing is deleted), StoreBusy, NoRemote, RemoteErrors.
    """
    return default().gc(remote=remote, delete=delete, grace_s=grace_s)


def doctor() -> list[Check]:
    """The state of all that a run needs, each failure with the command that mends it."""
    return default().doctor()
