"""The settings that lead jobs to a Knot, as config.toml has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundlerun.images.publish import needs_none
from bundlerun.provision.ensure import KnotMade
from bundlerun.provision.templates import KNOT_TAG
from bundlerun.registry import KNOT_BACKEND
from bundlerun.settings import ImageSettings

BACKEND = f"backends.{KNOT_BACKEND}"


def settings_of(knot: KnotMade, images: ImageSettings) -> dict[str, dict[str, Any]]:
    """The keys and values of each section that differ from a client without a Knot.

    ``images`` are the client's: a registry that it has stays, and without one images go to the
    account's own, unless that is the sandbox, whose jobs need none. Sizes of jobs are told where
    the Knot has them.
    """
    options, outputs = knot.options, knot.outputs
    tags = {**options.tags, KNOT_TAG: options.name}
    batch = {
        "queue": outputs.queue,
        "job_role_arn": outputs.job_role,
        "log_group": outputs.log_group,
        "job_definition_name": outputs.job_definition,
        "platform": options.platform,
        "tags": ",".join(f"{key}={value}" for key, value in sorted(tags.items())),
    }
    run = {"bucket": outputs.remote, **{name: getattr(options, name) for name in _SIZES}}
    registry = None if images.registry or needs_none(images) else "ecr"
    sections = {BACKEND: batch, "run": run, "images": {"registry": registry}}
    told = {section: _told(rows) for section, rows in sections.items()}
    return {section: rows for section, rows in told.items() if rows}


_SIZES = ("vcpus", "memory_mib", "gpus", "retries", "timeout_s")


def _told(rows: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rows.items() if value is not None}
