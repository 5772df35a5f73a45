"""Resources on AWS in the caller's hand: a Pars, and a Knot to map on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from bundlerun.api.docker_image import DockerImage
from bundlerun.api.jobs_table import JobsTable
from bundlerun.api.knot_image import KnotImage
from bundlerun.api.knot_place import check_reach, knot_connections
from bundlerun.api.resources import permitted
from bundlerun.api.scope import APPLY, Scope, SharedScope
from bundlerun.aws.session import Aws
from bundlerun.errors import CloudError, Conflict, UsageError
from bundlerun.provision.ensure import KnotOutputs, Provision
from bundlerun.provision.knot_template import ParsOutputs
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.stacks import Left
from bundlerun.registry import KNOT_BACKEND
from bundlerun.remotes.s3 import bucket_and_prefix
from bundlerun.runs.calls.options import MapOptions
from bundlerun.runs.limits import LeftOut

if TYPE_CHECKING:
    from bundlerun.api.workspace import Workspace
    from bundlerun.futures.future import MapRun
    from bundlerun.runs.record import RunRecord


class Pars:
    """The network, the roles and the bucket that Knots share.

    It is one CloudFormation stack, made, or found by its name from any machine: then what is left
    out is as it is found, and what differs is refused. ``vpc``: "default", "new" or an id; ``cidr``
    and ``tenancy`` are those of a new one. ``policies``: managed policies of the jobs' role, next
    to the access to the remote. ``batch_service_role``, ``instance_role``, ``spot_fleet_role``,
    ``job_role`` (names or ARNs) and ``bucket`` (``NAME/PREFIX``) that exist are adopted, and never
    deleted. ``tags`` stand on all of it. ``workspace`` None: the one of the settings, whose
    identity makes it.

    Raises UsageError for what cannot be meant, before any call; Conflict where the name is taken,
    or other options are asked for than found; CloudError with the first thing that cannot be made,
    and nothing is left then; NotFound for something named that does not exist.
    """

    def __init__(
        self, name: str = "default", *, workspace: Workspace | None = None, **options: Any
    ) -> None:
        asked = ParsOptions.of(name, **options)
        self._scope = _scope_of(workspace, "br.Pars")
        with permitted():
            made = _provision(self._scope).ensure_pars(asked)
        self.name = name
        self.options: ParsOptions = made.options
        self.outputs: ParsOutputs = made.outputs
        self._is_clobbered = False

    def __repr__(self) -> str:
        return f"<Pars {self.name}, {_standing(self._is_clobbered, self.outputs.remote)}>"

    def clobber(self, *, bucket: bool = False) -> tuple[Left, ...]:
        """Delete it, with ``bucket`` its bucket and all data in it; what remains, and why.

        Twice is not an error. Raises Conflict while Knots use it, CloudError.
        """
        own = self.outputs.bucket
        left = _provision(self._scope).delete_pars(self.name, bucket=bucket, own=own)
        self._is_clobbered = True
        return left

    def made(self) -> ParsOutputs:
        """What it made.

        Raises Conflict once it is clobbered.
        """
        if self._is_clobbered:
            raise _clobbered("Pars", self.name)
        return self.outputs


class Knot:
    """A queue to map on, with its machines, log group and repository.

    It is one CloudFormation stack, made, or found by its name from any machine: then what is left
    out is as it is found, and what differs is refused. At rest it has no machines and costs
    nothing. ``func`` is what ``map`` calls; ``pars`` is a Pars or the name of one (None: the Pars
    "default", made where it is missing).

    The image of its jobs: ``image`` (a DockerImage, or a name), else what ``br.DockerImage`` makes
    of ``func`` or ``script_path``, ``requirements`` and ``base_image``, sent to the Knot's
    repository by the first map that needs it; ``image_tags`` are more tags of it there, and with
    ``no_cache`` it is built once in any case.

    The machines: ``instance_types``, ``min_vcpus``, ``max_vcpus``, ``desired_vcpus``, ``spot``,
    ``bid_percentage`` (of the price on demand), ``volume_gib``, ``volume_type``, ``image_id``,
    ``key_pair``. The queue: ``priority``. Names in place of those after the Knot: ``queue_name``,
    ``compute_environment_name``, ``job_definition_name``, ``repository``. What jobs get unless a
    map says otherwise: ``vcpus``, ``memory_mib``, ``gpus``, ``retries``, ``timeout_s`` (seconds, of
    an item). ``tags`` stand on all of it. ``workspace`` None: the one of the settings.

    Raises UsageError for what cannot be meant, before any call; Conflict where the name is taken,
    or other options are asked for than found; CloudError with the first thing that cannot be made,
    and nothing is left then; NotFound for something named that does not exist.
    """

    def __init__(
        self,
        name: str,
        func: Callable[..., Any] | None = None,
        pars: Pars | str | None = None,
        *,
        workspace: Workspace | None = None,
        **options: Any,
    ) -> None:
        shared = pars.made() if isinstance(pars, Pars) else None
        if pars is not None:
            options["pars"] = pars.name if isinstance(pars, Pars) else pars
        if func is not None:
            options["func"] = func
        given = options.pop("image") if isinstance(options.get("image"), DockerImage) else None
        asked = KnotOptions.of(name, **options)
        self._image = KnotImage(asked, given)
        self._scope = _scope_of(workspace, "br.Knot")
        with permitted():
            self._made = _provision(self._scope).ensure_knot(asked, shared)
        self.name = name
        self.options: KnotOptions = self._made.options
        self.outputs: KnotOutputs = self._made.outputs
        self._connections = knot_connections(self._scope.connections, self._made)
        self._image.place(self._made, self._connections)
        self._is_clobbered, self._was_looked_at = False, True

    def __repr__(self) -> str:
        return f"<Knot {self.name}, {_standing(self._is_clobbered, self.outputs.queue)}>"

    def map(
        self, *iterables: Iterable[Any], options: MapOptions | None = None, **more: Any
    ) -> MapRun[Any]:
        """Call its function with each item of ``iterables``, on its machines.

        The options of ``br.map``, but for the backend; they win over the Knot's. Raises as
        ``br.map``, and Conflict once the Knot is clobbered, or where its jobs cannot read the
        context's remote.
        """
        from bundlerun.api.calls import mapped

        return self._begun(lambda *how: mapped(how[0], how[1], iterables, how[2]), options, more)

    def starmap(
        self, tuples: Iterable[Any], options: MapOptions | None = None, **more: Any
    ) -> MapRun[Any]:
        """Call its function with the arguments of each of ``tuples``; see ``map``."""
        from bundlerun.api.calls import starmapped

        return self._begun(lambda *how: starmapped(how[0], how[1], tuples, how[2]), options, more)

    def jobs(self, *, limit: int | None = None) -> list[RunRecord]:
        """The context's runs on it, newest first, with their present states.

        At most ``limit`` of them, those of this store. Raises Conflict once the Knot is clobbered.
        """
        from bundlerun.runs.listing import jobs_of

        self._check()
        return jobs_of(self.outputs.queue, self._shared().runs(), limit=limit)

    def view_jobs(self, *, limit: int | None = 20) -> JobsTable:
        """The runs of ``jobs`` as a table that shows itself.

        It tells their states, their items, and why jobs wait. Raises Conflict once the Knot is
        clobbered.
        """
        return JobsTable(self.jobs(limit=limit))

    def clobber(
        self,
        *,
        pars: bool = False,
        repository: bool = False,
        image: bool = False,
        bucket: bool = False,
    ) -> tuple[Left, ...]:
        """End its jobs and delete it; what remains, and why.

        ``pars``: its Pars as well, with ``bucket`` and all data in it; ``repository``: with the
        images there; ``image``: those on the engine here. What was adopted always remains. Twice is
        not an error. Raises Conflict, and deletes nothing, where other Knots use the Pars.
        """
        if bucket and not pars:
            raise UsageError(
                f"the bucket is that of the Pars {self.options.pars}", hint="pars=True, bucket=True"
            )
        provision, shared = _provision(self._scope), self.options.pars
        others = [each for each in provision.knots_of(shared) if each != self.name] if pars else []
        if others:
            raise Conflict(
                f"the Pars {shared} is used by {', '.join(others)}; nothing was deleted",
                hint="leave out pars=True",
            )
        left = provision.delete_knot(self.name, repository=repository, made=self._made)
        self._is_clobbered = True
        if pars:
            own, _ = bucket_and_prefix(self.outputs.remote)
            left += provision.delete_pars(shared, bucket=bucket, own=own)
        return left + (self._image.clobber() if image else ())

    def _begun(
        self, begin: Callable[..., MapRun[Any]], options: MapOptions | None, more: dict[str, Any]
    ) -> MapRun[Any]:
        chosen = self._chosen(options, more)
        if self._is_clobbered or not self._was_looked_at:
            self._check()
        scope = self._shared()
        check_reach(scope, self._made)
        func, chosen = self._image.called(chosen)
        self._was_looked_at = False
        try:
            return begin(scope, func, chosen)
        except CloudError:
            # Of a queue that was deleted meanwhile Batch says no more than that it is not there.
            self._check()
            raise

    def _chosen(self, options: MapOptions | None, more: dict[str, Any]) -> MapOptions:
        chosen = MapOptions.chosen(options, {"backend": KNOT_BACKEND, **more})
        if chosen.backend != KNOT_BACKEND:
            raise UsageError(
                f"a Knot maps on its own queue, not on {chosen.backend}",
                hint=f"br.map(function, items, backend={chosen.backend!r})",
            )
        settings = self._connections.settings.run
        vcpus = settings.vcpus if isinstance(chosen.vcpus, LeftOut) else chosen.vcpus
        gpus = settings.gpus if isinstance(chosen.gpus, LeftOut) else chosen.gpus
        try:
            self.options.check_job(vcpus, gpus)
        except UsageError as error:
            raise UsageError(
                error.message, hint=f"less, or another Knot: br.Knot(NAME, function, {error.hint})"
            ) from error
        return chosen

    def _check(self) -> None:
        """Refuse to use what was deleted, by another process too; a call."""
        if not self._is_clobbered:
            found = _provision(self._scope).stacks.find(self._made.stack_id)
            self._is_clobbered = found is None or not found.is_made
        if self._is_clobbered:
            raise _clobbered("Knot", self.name)

    def _shared(self) -> Scope:
        # Who listens may have changed since.
        self._connections.progress = self._scope.progress
        return SharedScope(self._scope, self._connections)


def _signed(init: Any, kind: type) -> None:
    """Show the options that ``init`` takes in ``help`` and in completion."""
    own = inspect.signature(init)
    names = {*own.parameters, "given"}
    shown = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    for each in fields(kind):
        if each.name not in names:
            default = each.default if each.default is not MISSING else None
            shown.append(Parameter(each.name, Parameter.KEYWORD_ONLY, default=default))
    init.__signature__ = own.replace(parameters=shown)


_signed(Pars.__init__, ParsOptions)
_signed(Knot.__init__, KnotOptions)


def _scope_of(workspace: Workspace | None, what: str) -> Scope:
    from bundlerun.api import default

    scope = (workspace or default()).scope
    if scope.inner is not None:
        raise UsageError(f"{what} cannot be used inside of a pipe", hint=APPLY)
    return scope


def _provision(scope: Scope) -> Provision:
    return Provision(Aws.of(scope.connections), progress=scope.progress)


def _standing(is_clobbered: bool, place: str) -> str:
    return "clobbered" if is_clobbered else place


def _clobbered(kind: str, name: str) -> Conflict:
    return Conflict(f"the {kind} {name} is clobbered", hint=f"br.{kind}({name!r}) makes it again")
