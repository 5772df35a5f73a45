"""The options of a Pars and a Knot, with their defaults, checked before any call."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from bundlerun.backends.open import backend_type
from bundlerun.errors import UsageError
from bundlerun.provision import checks
from bundlerun.registry import KNOT_BACKEND

T = TypeVar("T", "ParsOptions", "KnotOptions")

DEFAULT_PARS = "default"
"""The Pars of a Knot that names none."""

DEFAULT_CIDR = "10.0.0.0/16"
LEAST_VOLUME_GIB = 30
"""The size of the disk in Amazon's own machine images, which a volume must hold.

Source: ECS developer guide, "Amazon ECS-optimized Linux AMIs".
"""
MOST_VOLUME_GIB = 16_384
MOST_PRIORITY = 1_000
"""Source: template reference, AWS::Batch::JobQueue, ``Priority``."""
MOST_VCPUS = 1_000_000

_ROLES = ("batch_service_role", "instance_role", "spot_fleet_role", "job_role")
_NO_GPUS = frozenset({"optimal", "default_x86_64", "default_arm64"})


_UNKEPT = frozenset(
    {
        "func",
        "image",
        "script_path",
        "requirements",
        "base_image",
        "image_tags",
        "no_cache",
        "given",
    }
)
"""The options of one process.

They stand in no stack, and are compared with nothing.
"""


@dataclass(frozen=True)
class ParsOptions:
    """The network, the roles and the bucket that Knots share.

    ``vpc`` is "default", "new" or an id; ``cidr`` and ``tenancy`` are those of a new one. Roles
    (name or ARN) and a bucket (``NAME/PREFIX``) that exist are adopted, others are made, and None
    is one of this Pars's own; without ``batch_service_role`` it is AWS Batch's service-linked
    role. ``policies``: managed policies of the job role, next to the access to the remote.

    ``given`` are the names of the options that were asked for.
    """

    name: str
    vpc: str = "default"
    cidr: str | None = None
    tenancy: str | None = None
    policies: tuple[str, ...] = ()
    batch_service_role: str | None = None
    instance_role: str | None = None
    spot_fleet_role: str | None = None
    job_role: str | None = None
    bucket: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def of(cls, name: str, **given: Any) -> ParsOptions:
        """The options asked for, checked.

        Raises UsageError for what cannot be meant.
        """
        _check_known(cls, given)
        checks.name(name, "name")
        forms: dict[str, Callable[[Any, str], Any]] = {
            "vpc": checks.vpc,
            "cidr": checks.cidr,
            "policies": _policies,
            "bucket": checks.bucket,
            "tags": checks.tags,
            **dict.fromkeys(_ROLES, checks.role),
        }
        made = cls(name, **_checked(cls, given, forms), given=frozenset(given))
        made._check_together()
        return made

    def _check_together(self) -> None:
        if self.tenancy not in (None, "default", "dedicated"):
            raise UsageError(
                f'tenancy={self.tenancy!r:.60} must be "default" or "dedicated"',
                hint="tenancy='dedicated'",
            )
        for option in ("cidr", "tenancy"):
            if getattr(self, option) is not None and self.vpc != "new":
                raise UsageError(
                    f"{option} is that of a new VPC, and vpc={self.vpc!r} is there already",
                    hint="vpc='new'",
                )


@dataclass(frozen=True)
class KnotOptions:
    """A queue with its machines, and the jobs that run there.

    ``pars`` is the name of the Pars. ``volume_gib`` is in GiB (2**30 bytes), ``memory_mib`` in MiB,
    ``bid_percentage`` a percentage of the price on demand (None: no limit but that price).
    ``desired_vcpus`` None is ``min_vcpus``. Without names of their own, queue, environment and
    repository are called after the Knot. The sizes, ``retries`` and ``timeout_s`` (seconds an
    attempt) of jobs are defaults of its maps (None: the settings').

    ``given`` are the names of the options that were asked for.
    """

    name: str
    pars: str = DEFAULT_PARS
    func: Callable[..., Any] | None = None
    image: str | None = None
    script_path: Any = None
    requirements: Any = None
    base_image: str | None = None
    image_tags: tuple[str, ...] = ()
    no_cache: bool = False
    instance_types: tuple[str, ...] = ("optimal",)
    min_vcpus: int = 0
    max_vcpus: int = 16
    desired_vcpus: int | None = None
    spot: bool = False
    bid_percentage: int | None = None
    volume_gib: int = 100
    volume_type: str = "gp3"
    image_id: str | None = None
    key_pair: str | None = None
    priority: int = 1
    queue_name: str | None = None
    compute_environment_name: str | None = None
    job_definition_name: str | None = None
    repository: str | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    gpus: int | None = None
    retries: int | None = None
    timeout_s: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def of(cls, name: str, **given: Any) -> KnotOptions:
        """The options asked for, checked.

        Raises UsageError for what cannot be meant.
        """
        _check_known(cls, given)
        checks.name(name, "name")
        made = cls(name, **_checked(cls, given, _KNOT_FORMS), given=frozenset(given))
        made._check_machines()
        made._check_jobs()
        return made

    def check_job(self, vcpus: float | None, gpus: int | None) -> None:
        """Refuse sizes of a job that no machine of the queue can have.

        Raises UsageError.
        """
        if vcpus is not None and vcpus > self.max_vcpus:
            raise UsageError(
                f"a job of vcpus={vcpus} never starts where max_vcpus={self.max_vcpus}",
                hint=f"max_vcpus={math.ceil(vcpus)}",
            )
        if gpus and _NO_GPUS.issuperset(self.instance_types):
            raise UsageError(
                f"gpus={gpus}: {', '.join(self.instance_types)} has no machine with a GPU",
                hint="instance_types=['g5']",
            )

    @property
    def platform(self) -> str:
        """The platform of its machines, "linux/amd64" or "linux/arm64"."""
        return "linux/arm64" if checks.is_arm(self.instance_types[0]) else "linux/amd64"

    @property
    def queue(self) -> str:
        """The job queue's name."""
        return self.queue_name or f"bundlerun-{self.name}"

    @property
    def environment(self) -> str:
        """The compute environment's name."""
        return self.compute_environment_name or f"bundlerun-{self.name}"

    @property
    def repository_name(self) -> str:
        """The name of its repository in the account's registry."""
        return self.repository or f"bundlerun/{self.name}"

    @property
    def job_definition(self) -> str:
        """The name of its job definitions."""
        return self.job_definition_name or f"bundlerun-{self.name}"

    @property
    def log_group(self) -> str:
        """The name of its log group."""
        return f"/bundlerun/knot/{self.name}"

    def _check_machines(self) -> None:
        desired = self.min_vcpus if self.desired_vcpus is None else self.desired_vcpus
        if not self.min_vcpus <= desired <= self.max_vcpus:
            raise UsageError(
                f"min_vcpus={self.min_vcpus}, desired_vcpus={desired}, max_vcpus={self.max_vcpus}"
                " must be in this order",
                hint=f"max_vcpus={max(self.min_vcpus, desired)}",
            )
        if self.bid_percentage is not None and not self.spot:
            raise UsageError("bid_percentage is that of spot machines", hint="spot=True")
        if self.volume_type not in ("gp2", "gp3"):
            raise UsageError(
                f'volume_type={self.volume_type!r:.60} must be "gp3" or "gp2": the others cannot'
                " start a machine, or need a number of operations a second",
                hint="volume_type='gp3'",
            )
        if self.image_id is None and self.volume_gib < LEAST_VOLUME_GIB:
            raise UsageError(
                f"volume_gib={self.volume_gib} is less than the machine's own image needs",
                hint=f"volume_gib={LEAST_VOLUME_GIB}",
            )

    def _check_jobs(self) -> None:
        self.check_job(self.vcpus, self.gpus)
        if self.retries is not None:
            backend_type(KNOT_BACKEND).check_limits(retries=self.retries, timeout_s=None)
        made = ("script_path", "requirements", "base_image", "no_cache", "image_tags")
        if self.image is not None and (both := [n for n in made if getattr(self, n)]):
            raise UsageError(f"image is there already, and {both[0]} makes one", hint="image=None")
        if self.func is not None and self.script_path is not None:
            raise UsageError("a Knot has func or script_path, not both", hint="script_path=None")
        if self.func is not None and not callable(self.func):
            raise UsageError(f"func={self.func!r:.60} cannot be called", hint="func=my_function")


def _policies(value: Any, what: str) -> tuple[str, ...]:
    found = checks.texts(value, what, "AmazonS3ReadOnlyAccess")
    return tuple(checks.policy(each, what) for each in found)


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return checks.texts(value, what, "v1")


def _text(value: Any, what: str) -> str:
    return checks.text(value, what, "TEXT")


def _whole(least: int, most: int | None = None) -> Callable[[Any, str], int]:
    return lambda value, what: checks.whole(value, what, least, most)


_KNOT_FORMS: Mapping[str, Callable[[Any, str], Any]] = {
    "pars": checks.name,
    "image": _text,
    "base_image": _text,
    "image_tags": _texts,
    "no_cache": checks.flag,
    "instance_types": checks.instance_types,
    "min_vcpus": _whole(0, MOST_VCPUS),
    "max_vcpus": _whole(1, MOST_VCPUS),
    "desired_vcpus": _whole(0, MOST_VCPUS),
    "spot": checks.flag,
    "bid_percentage": _whole(1, 100),
    "volume_gib": _whole(1, MOST_VOLUME_GIB),
    "image_id": checks.image_id,
    "key_pair": _text,
    "priority": _whole(0, MOST_PRIORITY),
    "queue_name": checks.batch_name,
    "compute_environment_name": checks.batch_name,
    "job_definition_name": checks.batch_name,
    "repository": checks.repository,
    "vcpus": _whole(1),
    "memory_mib": _whole(4),
    "gpus": _whole(0),
    "retries": _whole(0),
    "timeout_s": _whole(1),
    "tags": checks.tags,
}
"""The check of each option that needs one.

4 MiB: AWS Batch API reference, ResourceRequirement.
"""


_ELSEWHERE: Mapping[str, str] = {
    "docker_image": "image",
    "image_script_path": "script_path",
    "image_github_installs": "requirements",
    "repo_name": "repository",
    "no_image_cache": "no_cache",
    "job_def_vcpus": "vcpus",
    "memory": "memory_mib",
    "n_gpus": "gpus",
    "volume_size": "volume_gib",
    "ec2_key_pair": "key_pair",
    "job_queue_name": "queue_name",
    "batch_service_role_name": "batch_service_role",
    "ecs_instance_role_name": "instance_role",
    "spot_fleet_role_name": "spot_fleet_role",
    "use_default_vpc": "vpc",
    "ipv4_cidr": "cidr",
    "instance_tenancy": "tenancy",
    "aws_resource_tags": "tags",
}
"""Options as cloudknot 0.6.1 calls them, for who comes from there."""


def _check_known(kind: type, given: Mapping[str, Any]) -> None:
    known = [each.name for each in fields(kind) if each.name not in ("name", "given")]
    what = kind.__name__.removesuffix("Options")
    for option in given:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.75)
            meant = [each for each in (_ELSEWHERE.get(option), *near) if each in known]
            raise UsageError(
                f"{option!r:.60} is not an option of a {what}"
                + (f"; did you mean {meant[0]!r}?" if meant else ""),
                hint=f"help(bundlerun.{what})",
            )


def _checked(
    kind: type, given: Mapping[str, Any], forms: Mapping[str, Callable[[Any, str], Any]]
) -> dict[str, Any]:
    """The options in their one form; None stays None where that is what is left out."""
    defaults = {each.name: each.default for each in fields(kind)}
    checked = {}
    for option, value in given.items():
        is_none = value is None and defaults[option] is None
        form = forms.get(option)
        checked[option] = value if is_none or form is None else form(value, option)
    return checked


@dataclass(frozen=True)
class Difference:
    """An option whose value is another than what was asked for."""

    option: str
    asked: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.option}: asked {self.asked!r}, found {self.found!r}"


def differences(asked: T, found: T) -> tuple[Difference, ...]:
    """The options asked for that ``found`` has otherwise.

    What was left out is as found.
    """
    pairs = (
        (name, getattr(asked, name), getattr(found, name))
        for name in _kept(type(asked))
        if name in asked.given
    )
    return tuple(Difference(*pair) for pair in pairs if pair[1] != pair[2])


def to_json(options: ParsOptions | KnotOptions) -> dict[str, Any]:
    """The options that a stack keeps; those that are None have no row."""
    values = {name: getattr(options, name) for name in _kept(type(options))}
    return {
        name: list(value)
        if isinstance(value, tuple)
        else dict(value)
        if isinstance(value, Mapping)
        else value
        for name, value in values.items()
        if value is not None
    }


def from_json(kind: type[T], found: Mapping[str, Any]) -> T:
    """What ``to_json`` made, perhaps by another version.

    What it lacks has its default.
    """
    kept: dict[str, Any] = {name: found[name] for name in _kept(kind) if name in found}
    for name, value in kept.items():
        kept[name] = tuple(value) if isinstance(value, list) else value
    return kind(**kept)


def _kept(kind: type) -> list[str]:
    return [each.name for each in fields(kind) if each.name not in _UNKEPT]
