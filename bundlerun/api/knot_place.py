"""Where the maps of a Knot run: its settings, and the remote of its jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bundlerun.aws.session import Aws
from bundlerun.backends.open import backend_type
from bundlerun.errors import Conflict
from bundlerun.images.image import is_named
from bundlerun.images.publish import in_sandbox

if TYPE_CHECKING:
    from bundlerun.api.scope import Scope
    from bundlerun.connections import Connections
    from bundlerun.provision.ensure import KnotMade
    from bundlerun.settings import ImageSettings, RunSettings, Settings

BACKEND = "AWSBatch"
_JOB = ("vcpus", "memory_mib", "gpus", "retries", "timeout_s")


def knot_connections(connections: Connections, made: KnotMade) -> Connections:
    """Connections of the same identity, whose settings are those of a Knot."""
    return Aws.shared(connections, knot_settings(connections.settings, made))


def knot_settings(settings: Settings, made: KnotMade) -> Settings:
    """The settings under which a map runs on a Knot."""
    options, outputs = made.options, made.outputs
    place = {
        "queue": outputs.queue,
        "job_role_arn": outputs.job_role,
        "job_definition_name": outputs.job_definition,
        "log_group": outputs.log_group,
        "platform": options.platform,
    }
    changed = replace(settings, run=_run(settings.run, made), images=_images(settings.images))
    return changed.but_options(BACKEND, backend_type(BACKEND).options, place)


def _run(settings: RunSettings, made: KnotMade) -> RunSettings:
    sizes = {name: getattr(made.options, name) for name in _JOB}
    given = {name: each for name, each in sizes.items() if each is not None}
    return replace(settings, bucket=settings.bucket or made.outputs.remote, **given)


def _images(settings: ImageSettings) -> ImageSettings:
    """Images go to the account's registry, under the names of its repositories."""
    registry = settings.registry
    if not in_sandbox() and not (registry and is_named(registry)):
        registry = "ecr"
    return replace(settings, registry=registry, repository_prefix=None)


def check_reach(scope: Scope, made: KnotMade) -> None:
    """Refuse a context whose remote the Knot's jobs cannot read.

    A role of the Pars's own is allowed its remote alone. Who adopted a role, added policies, or
    gives jobs credentials of their own, knows what these may. Raises Conflict.
    """
    context, allowed = scope.context(), made.outputs.remote
    # One without a remote is bound to that of the settings.
    url = context.remote_url or scope.settings.run.bucket or allowed
    url = url if "://" in url else f"s3://{url}"
    alone = made.outputs.remote_only and not scope.settings.aws.session_seconds
    if alone and not f"{url}/".startswith(f"{allowed}/"):
        raise Conflict(
            f"the context {context.name} has the remote {url}, and the jobs of the Knot"
            f" {made.options.name} may read and write {allowed} alone",
            hint=f"bundlerun context NAME; bundlerun remote NAME {allowed}",
        )
