"""The options of a Pars and a Knot as flags, and refusals of them in flags."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from bundlerun.cli.options import F
from bundlerun.errors import UsageError

if TYPE_CHECKING:
    from bundlerun.provision.options import KnotOptions, ParsOptions

TEXTS = "texts"
"""The type of an option that is repeated."""

Rows = Mapping[str, tuple[Any, str]]
"""Options by their names in Python: the type, and the line of help."""

OF_PARS: Rows = {
    "vpc": (str, '"default", "new" or the id of a VPC.'),
    "cidr": (str, "The block of addresses of a new VPC."),
    "tenancy": (str, '"default" or "dedicated", of a new VPC.'),
    "policies": (TEXTS, "A managed policy of the job role, next to the remote; repeatable."),
    "batch_service_role": (str, "A role of your own for AWS Batch itself."),
    "instance_role": (str, "A role of your own for the machines."),
    "spot_fleet_role": (str, "A role of your own for the spot fleet."),
    "job_role": (str, "A role of your own for the jobs."),
    "bucket": (str, "BUCKET/PREFIX of the remote; a bucket is made unless it is given."),
}
OF_KNOT: Rows = {
    "instance_types": (TEXTS, 'Types or families of machines, or "optimal"; repeatable.'),
    "min_vcpus": (int, "vCPUs that always run, and always cost."),
    "max_vcpus": (int, "The most vCPUs at a time."),
    "desired_vcpus": (int, "vCPUs to begin with."),
    "spot": (bool, "Machines that are cheaper and may be taken away, or not."),
    "bid_percentage": (int, "The most to pay for spot, in percent of the price on demand."),
    "volume_gib": (int, "The disk of a machine in GiB."),
    "volume_type": (str, '"gp3" or "gp2".'),
    "image_id": (str, "The machine image, an AMI's id."),
    "key_pair": (str, "An EC2 key pair for the machines."),
    "priority": (int, "The queue's priority, 0 to 1000."),
    "queue_name": (str, "The queue's name."),
    "compute_environment_name": (str, "The compute environment's name."),
    "job_definition_name": (str, "The name of the job definitions."),
    "repository": (str, "The name of the repository of images."),
    "vcpus": (int, "vCPUs of a job that is told none."),
    "memory_mib": (int, "Memory in MiB of a job that is told none."),
    "gpus": (int, "GPUs of a job that is told none."),
    "retries": (int, "Attempts after the first where the machine was lost."),
    "timeout_s": (int, "The time limit of an attempt in seconds."),
}


def flag(name: str) -> str:
    """The flag of an option."""
    return "--" + name.replace("_", "-")


def provision_options(command: F) -> F:
    """Add the options of a Pars and a Knot, each None or empty unless it is given."""
    for name, (kind, line) in reversed({**OF_KNOT, **OF_PARS}.items()):
        flags = "--spot/--on-demand" if kind is bool else flag(name)
        repeated = kind is TEXTS
        add = click.option(
            flags,
            name,
            type=str if repeated else kind,
            multiple=repeated,
            default=None,
            metavar=None if kind is bool else "N" if kind is int else "TEXT",
            help=line,
        )
        command = add(command)
    return command


def options_of(
    name: str, pars: str | None, tags: Mapping[str, str], given: Mapping[str, Any]
) -> tuple[ParsOptions, KnotOptions]:
    """The options that were given, checked.

    Raises UsageError with the cure in flags.
    """
    from bundlerun.api.resources import DEFAULT_PARS
    from bundlerun.provision.options import KnotOptions, ParsOptions

    asked = {key: value for key, value in given.items() if value not in (None, ())}
    both = {"tags": dict(tags)} if tags else {}
    shared = {key: asked[key] for key in OF_PARS if key in asked}
    own = {key: asked[key] for key in OF_KNOT if key in asked}
    if pars is not None:
        own["pars"] = pars
    with _in_flags():
        # The Knot first: it knows the name of its Pars as an option, with the flag to mend it.
        knot = KnotOptions.of(name, **own, **both)
        return ParsOptions.of(pars or DEFAULT_PARS, **shared, **both), knot


@contextmanager
def _in_flags() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        told = re.fullmatch(r"(\w+)=(.+)", error.hint or "")
        hint = _typed(told[1], told[2]) if told else error.hint
        raise UsageError(error.message, hint=hint) from error


def _typed(name: str, text: str) -> str:
    """``name=value`` of Python as a command takes it."""
    value = ast.literal_eval(text)
    if name == "name":
        return f"bundlerun aws up {value}"
    if name == "tags":
        return " ".join(f"--tag {key}:{told}" for key, told in value.items())
    if isinstance(value, bool):
        return "--spot" if value else "--on-demand"
    values = value if isinstance(value, list) else [value]
    return " ".join(f"{flag(name)} {shlex.quote(str(each))}" for each in values)
