"""Where the maps of a Knot run: its settings, and the remote of its jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bundlerun.aws.session import Aws
from bundlerun.backends.open import backend_type
from bundlerun.errors import Conflict
from bundlerun.provision.knot_settings import settings_of
from bundlerun.registry import KNOT_BACKEND

if TYPE_CHECKING:
    from bundlerun.api.scope import Scope
    from bundlerun.connections import Connections
    from bundlerun.provision.ensure import KnotMade


def knot_connections(connections: Connections, made: KnotMade) -> Connections:
    """Connections of the same identity, whose settings lead to a Knot.

    A setting ``[run] bucket`` stays.
    """
    settings = connections.settings
    told = settings_of(made, settings.images)
    run = {**told["run"], "bucket": settings.run.bucket or made.outputs.remote}
    # Its images are called after repositories, which have no prefix.
    images = {**told.get("images", {}), "repository_prefix": None}
    led = replace(
        settings, run=replace(settings.run, **run), images=replace(settings.images, **images)
    )
    led = led.but_options(
        KNOT_BACKEND, backend_type(KNOT_BACKEND).options, told[f"backends.{KNOT_BACKEND}"]
    )
    return Aws.shared(connections, led)


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
