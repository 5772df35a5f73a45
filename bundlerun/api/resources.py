"""Resources on AWS: made or found, led to by settings, and deleted.

What they are made of stands in ``provision``; here a Knot and its Pars become settings of this
machine, and each refusal of AWS names what allows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from bundlerun.aws.buckets import bucket_tags
from bundlerun.aws.ecr import repository_tags
from bundlerun.aws.session import Aws
from bundlerun.backends.open import backend_type
from bundlerun.errors import (
    AccessDenied,
    CloudError,
    Conflict,
    NoCredentials,
    NotFound,
    RemoteUnreachable,
    SettingsError,
    UsageError,
)
from bundlerun.provision import checks, users
from bundlerun.provision.adopt import own_bucket
from bundlerun.provision.ensure import (
    KnotMade,
    ParsMade,
    Provision,
    knot_stack,
    pars_stack,
)
from bundlerun.provision.knot_settings import BACKEND, settings_of
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.stacks import Left, Stack
from bundlerun.provision.templates import KNOT_TAG, PARS_TAG
from bundlerun.registry import KNOT_BACKEND
from bundlerun.settings import ImageSettings, RunSettings, Settings

if TYPE_CHECKING:
    from bundlerun.api.scope import Scope
    from bundlerun.provision.orphans import Orphan, Orphans
    from bundlerun.provision.policy_parts import Place
    from bundlerun.provision.status import Status

DEFAULT_PARS = "default"

Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Up:
    """A Knot that stands with its Pars, and the settings that lead jobs there.

    ``settings`` are values by key by section of config.toml.
    """

    pars: ParsMade
    knot: KnotMade
    settings: Sections

    @property
    def variables(self) -> dict[str, str]:
        """The variables that say what ``settings`` say, of the keys that have one."""
        return {
            variable: str(value)
            for (section, key), variable in _variables().items()
            if (value := self.settings.get(section, {}).get(key)) is not None
        }

    @property
    def without_variable(self) -> dict[str, Any]:
        """The values that stand in ``settings`` alone, by ``[section] key``."""
        named = _variables()
        return {
            f"[{section}] {key}": value
            for section, rows in self.settings.items()
            for key, value in rows.items()
            if (section, key) not in named
        }

    def over(self, settings: Settings) -> dict[str, str]:
        """The variables of the environment that say otherwise, and win over config.toml."""
        return {
            name: settings.variables[name]
            for name, value in self.variables.items()
            if settings.variables.get(name) not in (None, "", value)
        }

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain JSON values."""
        return {
            "knot": self.knot.options.name,
            "pars": self.pars.options.name,
            "outputs": asdict(self.knot.outputs),
            "settings": self.settings,
            "variables": self.variables,
        }


@dataclass(frozen=True)
class Down:
    """What was deleted, or would be, and what remains.

    ``name`` and ``of_pars`` are the Knot and the Pars that were named. ``knot`` and ``pars`` are
    they where they stand, ``bucket`` and
    ``repository`` those whose contents go. ``leads_here``: config.toml or a variable still leads
    jobs to the queue.
    """

    name: str | None
    of_pars: str | None
    knot: str | None
    pars: str | None
    bucket: str | None = None
    repository: str | None = None
    left: tuple[Left, ...] = ()
    leads_here: bool = False


def up(scope: Scope, pars: ParsOptions, knot: KnotOptions) -> Up:
    """The Knot and its Pars, made where they are missing.

    ``pars`` is that of the Knot, or the Pars ``default``; where the Knot stands, it is the Knot's
    own. Where the Knot is refused, no Pars is made. Raises as ``Provision.ensure_pars`` and
    ``ensure_knot`` do.
    """
    with permitted():
        provision = _provision(scope)
        # A Knot that stands is compared first: of one that is refused no Pars is made.
        found = provision.agreed_knot(knot)
        if found is not None:
            pars = ParsOptions.of(found.options.pars, **_asked(pars))
        made = provision.ensure_pars(pars)
        stands = found or provision.ensure_knot(knot, made.outputs)
    return Up(made, stands, settings_of(stands, scope.settings.images))


def plan_down(
    scope: Scope,
    name: str | None,
    pars: str | None = None,
    *,
    repository: bool = False,
    bucket: bool = False,
) -> Down:
    """What ``down`` would delete of the Knot ``name`` and the Pars ``pars``.

    None: none; nothing is touched. Of what is deleted already the repository and the bucket are
    looked for, under the names that they have unless they are told others. Raises Conflict where
    the Knot is in another Pars, where others use the Pars, or for stacks of another owner.
    """
    with permitted():
        provision, aws = _provision(scope), Aws.of(scope.connections)
        knot = None if name is None else provision.stacks.find(knot_stack(_checked(name)))
        its = None if knot is None else provision.stacks.options(knot).get("pars", DEFAULT_PARS)
        if pars is not None:
            _check_its_pars(provision, name, its, _checked(pars))
        shared = None if pars is None else provision.stacks.find(pars_stack(pars))
        of_knot = {} if knot is None else knot.outputs
        return Down(
            name=name,
            of_pars=pars,
            knot=None if knot is None else name,
            pars=None if shared is None else pars,
            bucket=_own_data(provision, aws, name, pars, shared) if bucket else None,
            repository=_own_images(provision, aws, name, of_knot) if repository else None,
            leads_here=_leads_to(scope.settings, of_knot.get("Queue")),
        )


def _check_its_pars(provision: Provision, name: str | None, its: str | None, pars: str) -> None:
    """Refuse to delete a Pars that is not the Knot's, or that others use.

    ``its`` is that of the Knot ``name``, where it stands.
    """
    if its not in (None, pars):
        raise Conflict(
            f"the Knot {name} is in the Pars {its}, not in {pars}: nothing was deleted",
            hint=f"bundlerun aws down {name} --pars {its}",
        )
    others = [each for each in provision.knots_of(pars) if each != name]
    if others:
        raise Conflict(
            f"the Pars {pars} is used by {', '.join(others)} too: nothing was deleted",
            hint=f"bundlerun aws down {others[0]}",
        )


def _own_images(
    provision: Provision, aws: Aws, name: str | None, outputs: Mapping[str, str]
) -> str | None:
    """The Knot's repository; None where it is not its own."""
    if name is None:
        return None
    images = outputs.get("Repository", KnotOptions(name).repository_name)
    if repository_tags(aws, images).get(KNOT_TAG) != name:
        return None
    using = users.repository_users(provision.stacks, images, f"Knot {name}")
    _check_no_others(f"the repository {images}", using, "--repository")
    return images


def _own_data(
    provision: Provision, aws: Aws, knot: str | None, pars: str | None, stack: Stack | None
) -> str | None:
    """The bucket of the Pars; None where it is not its own."""
    if pars is None:
        return None
    data = ({} if stack is None else stack.outputs).get("Bucket") or own_bucket(aws, pars)
    if bucket_tags(aws, data).get(PARS_TAG) != pars:
        return None
    using = users.bucket_users(provision.stacks, data, f"Pars {pars}")
    # The Knot itself goes first.
    others = [each for each in using if each != f"Knot {knot}"]
    _check_no_others(f"the bucket {data}", others, "--bucket")
    return data


def down(scope: Scope, planned: Down) -> Down:
    """Delete what was planned, the Knot first; what remains, and why.

    To do it twice does nothing more. Raises Conflict where others use the Pars by now.
    """
    left: tuple[Left, ...] = ()
    with permitted():
        provision = _provision(scope)
        if planned.knot is not None:
            left += provision.delete_knot(planned.knot, repository=planned.repository is not None)
        elif planned.name is not None and planned.repository is not None:
            left += provision.delete_images(planned.name, planned.repository)
        if planned.pars is not None:
            left += provision.delete_pars(planned.pars, bucket=planned.bucket is not None)
        elif planned.of_pars is not None and planned.bucket is not None:
            left += provision.delete_data(planned.of_pars, planned.bucket)
    return replace(planned, left=left)


def status(scope: Scope, name: str | None = None) -> Status:
    """What stands of the Knot or the Pars ``name``, or of all, and why jobs wait.

    Raises NotFound for a name that neither has.
    """
    from bundlerun.provision.status import status

    with permitted():
        return status(Aws.of(scope.connections), name)


def orphans(scope: Scope) -> Orphans:
    """What carries bundlerun's tags and belongs to no stack that stands."""
    from bundlerun.provision.orphans import orphans

    with permitted():
        return orphans(Aws.of(scope.connections))


def remove(scope: Scope, found: Sequence[Orphan], *, data: bool = False) -> tuple[Left, ...]:
    """Delete orphans; what remains, and why.

    Buckets and repositories that hold something stay unless ``data``.
    """
    from bundlerun.provision.orphans import remove

    with permitted():
        return remove(Aws.of(scope.connections), found, data=data, progress=scope.progress)


def run_policy(scope: Scope, knot: str | None = None) -> dict[str, Any]:
    """The IAM policy of a client that submits: to the Knot, or to any queue.

    Raises NotFound for a Knot that is not there.
    """
    from bundlerun.provision.policies import Submitter, run_policy

    settings = scope.settings
    role = settings.aws.session_role_arn
    federated = bool(settings.aws.session_seconds) and not role
    to_any = Submitter(session_role=role, federated=federated)
    if knot is None:
        return run_policy(_place(scope), to_any)
    with permitted():
        found = _provision(scope).find_knot(_checked(knot))
    if found is None:
        raise NotFound(f"there is no Knot {knot}", hint="bundlerun aws status")
    outputs, prefix = found.outputs, settings.images.repository_prefix
    submitter = replace(
        to_any,
        remote=outputs.remote,
        queue=outputs.queue,
        # With the revision behind it, or without.
        definitions=f"{outputs.job_definition}*",
        # Images of pipelines and functions have repositories of their own names.
        repositories=(outputs.repository, f"{prefix}/bundlerun-*" if prefix else "bundlerun-*"),
        log_groups=(outputs.log_group,),
        roles=(outputs.job_role,),
        knots=(knot,),
        pars=(found.options.pars,),
    )
    return run_policy(_place(scope), submitter)


def provision_policy(
    scope: Scope, pars: ParsOptions | None = None, knot: KnotOptions | None = None
) -> dict[str, Any]:
    """The IAM policy of a client that makes and deletes this Pars and Knot, or any."""
    from bundlerun.provision.policies import provision_policy

    return provision_policy(_place(scope), pars=pars, knot=knot)


def _place(scope: Scope) -> Place:
    """The account and the region; any where nobody is logged in."""
    from bundlerun.provision.policy_parts import Place

    try:
        return Place.of(Aws.of(scope.connections))
    except (NoCredentials, RemoteUnreachable, SettingsError) as error:
        scope.progress.line(f"the policy is for any account and region: {error.message}")
        return Place()


def unused_pars(scope: Scope) -> tuple[str, ...]:
    """The names of the Pars that no Knot uses."""
    with permitted():
        found = _provision(scope).stacks
        stacks = found.all()
        used = {found.outputs(each).get("Pars") for each in stacks if KNOT_TAG in each.tags}
    named = {each.tags[PARS_TAG] for each in stacks if PARS_TAG in each.tags}
    return tuple(sorted(named - used))


def _provision(scope: Scope) -> Provision:
    return Provision(Aws.of(scope.connections), progress=scope.progress)


def _checked(name: str) -> str:
    """A name that a Pars or a Knot may have."""
    try:
        return checks.name(name, "name")
    except UsageError as error:
        raise UsageError(error.message, hint="bundlerun aws status") from error


def _asked(pars: ParsOptions) -> dict[str, Any]:
    return {name: getattr(pars, name) for name in pars.given}


def _check_no_others(what: str, others: list[str], flag: str) -> None:
    if others:
        raise Conflict(
            f"{what} is used by {', '.join(others)} too: nothing was deleted",
            hint=f"leave out {flag}",
        )


def _leads_to(settings: Settings, queue: str | None) -> bool:
    options = settings.options(KNOT_BACKEND, backend_type(KNOT_BACKEND).options)
    return queue is not None and getattr(options, "queue", None) == queue


def _variables() -> dict[tuple[str, str], str]:
    """The variable of each key that has one, by section and key."""
    kinds: dict[str, type] = {
        BACKEND: backend_type(KNOT_BACKEND).options,
        "run": RunSettings,
        "images": ImageSettings,
    }
    return {
        (section, each.name): each.metadata["variable"]
        for section, kind in kinds.items()
        for each in fields(kind)
        if each.metadata.get("variable")
    }


_CURE = "bundlerun aws policy provision"


@contextmanager
def permitted() -> Iterator[None]:
    """Where a permission is missing, name the command that tells all of them."""
    try:
        yield
    except AccessDenied as error:
        raise AccessDenied(error.message, hint=_CURE) from error
    except CloudError as error:
        # CloudFormation tells what its own calls were refused in an event.
        if "not authorized to perform" not in error.message:
            raise
        raise CloudError(error.message, hint=_CURE) from error
