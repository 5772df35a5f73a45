"""The rules for single options: what AWS would refuse, refused before any call.

Every function returns what it was given, in its one form, or raises UsageError.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from bundlerun.errors import UsageError
from bundlerun.remotes.s3 import S3Remote, bucket_and_prefix

MOST_TAGS = 40
"""The most tags of one's own.

AWS takes 50 a resource, ours among them (EC2 user guide, "Tag restrictions").
"""

_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?!-)){0,30}[a-z0-9]")
_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_ROLE = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/(?:[!-~]+/)?[\w+=,.@-]{1,64}", re.ASCII)
_POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::(?:aws|\d{12}):policy/[!-~]{1,600}")
_BATCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_REPOSITORY = re.compile(
    r"(?:[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*/)*[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
)
_INSTANCES = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)?")
_IMAGE_ID = re.compile(r"ami-[0-9a-f]{8,17}")
_VPC = re.compile(r"vpc-[0-9a-f]{8,17}")
_TAG_KEY = re.compile(r"[\w .:/+@-]*")
_TAG = re.compile(r"[\w .:/=+@-]*")
_CODE = re.compile(r"[a-z]+\d+([a-z]*)")


def text(value: Any, what: str, example: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{what} must be a text, not {value!r:.60}", hint=f"{what}={example!r}")
    return value


def _matching(value: Any, what: str, pattern: re.Pattern[str], rule: str, example: str) -> str:
    found = text(value, what, example)
    if not pattern.fullmatch(found):
        raise UsageError(f"{what}={found!r:.120} must be {rule}", hint=f"{what}={example!r}")
    return found


def flag(value: Any, what: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UsageError(f"{what} must be True or False, not {value!r:.60}", hint=f"{what}=True")
    return value


def whole(value: Any, what: str, least: int, most: int | None = None) -> int:
    """A whole number from ``least`` to ``most`` (None: unlimited)."""
    # A boolean is an int to Python.
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        limits = f"from {least} to {most}" if most is not None else f"of {least} or more"
        raise UsageError(
            f"{what} must be a whole number {limits}, not {value!r:.60}", hint=f"{what}={least}"
        )
    return int(value)


def name(value: Any, what: str) -> str:
    """The name of a Pars or a Knot, which names a stack, a repository and a bucket.

    2 to 32 lower-case letters, digits and single hyphens: what all of them take (CloudFormation
    API reference, CreateStack, ``StackName``; ECR API reference, CreateRepository; S3 user guide,
    "General purpose bucket naming rules": 63 characters with account and region).
    """
    rule = "2 to 32 lower-case letters, digits and single hyphens, a letter first"
    return _matching(value, what, _NAME, rule, _near_name(value))


def _near_name(value: Any) -> str:
    """The nearest name to what was given that can be one: ``my-lab`` for ``My_Lab``."""
    words = re.findall(r"[a-z0-9]+", str(value).lower())
    near = "-".join(words)[:32].strip("-").lstrip("0123456789-")
    return near if _NAME.fullmatch(near) else "lab"


def batch_name(value: Any, what: str) -> str:
    """The name of a queue, an environment or a job definition.

    Source: AWS Batch API reference, CreateJobQueue, ``jobQueueName``.
    """
    rule = "1 to 128 letters, digits, hyphens and underscores"
    return _matching(value, what, _BATCH_NAME, rule, "my-queue")


def repository(value: Any, what: str) -> str:
    """The name of an ECR repository (ECR API reference, CreateRepository)."""
    rule = "2 to 256 lower-case letters, digits and . _ - / between them"
    found = _matching(value, what, _REPOSITORY, rule, "team/model")
    if not 2 <= len(found) <= 256:
        raise UsageError(f"{what}={found!r:.120} must be {rule}", hint=f"{what}='team/model'")
    return found


def role(value: Any, what: str) -> str:
    """The name or the ARN of a role (IAM user guide, "IAM and AWS STS quotas")."""
    found = text(value, what, "my-role")
    pattern = _ROLE_ARN if found.startswith("arn:") else _ROLE
    return _matching(found, what, pattern, "a role's name or ARN", "my-role")


def policy(value: Any, what: str) -> str:
    """The ARN of a managed policy, or the name of one of AWS's own."""
    found = text(value, what, "AmazonS3ReadOnlyAccess")
    pattern = _POLICY_ARN if found.startswith("arn:") else re.compile(r"[\w+=,.@/-]{1,128}")
    rule = "a managed policy's ARN, or the name of one of AWS's own"
    return _matching(found, what, pattern, rule, "AmazonS3ReadOnlyAccess")


def vpc(value: Any, what: str) -> str:
    """The id of a VPC, or "default" or "new"."""
    found = text(value, what, "new")
    if found in ("default", "new"):
        return found
    return _matching(
        found, what, _VPC, '"default", "new" or the id of a VPC', "vpc-0123456789abcdef0"
    )


def cidr(value: Any, what: str) -> str:
    """The block of addresses of a new VPC.

    /16 to /24: EC2 takes /16 to /28 for a VPC and for each subnet (VPC user guide, "VPC CIDR
    blocks"), and the block is cut into one subnet a zone.
    """
    found = text(value, what, "10.0.0.0/16")
    try:
        block = ipaddress.IPv4Network(found)
    except ValueError as error:
        raise UsageError(
            f"{what}={found!r:.60} is not a block of IPv4 addresses: {error}",
            hint=f"{what}='10.0.0.0/16'",
        ) from error
    if "/" not in found or not 16 <= block.prefixlen <= 24:
        raise UsageError(
            f"{what}={found!r:.60} must be a block from /16 to /24", hint=f"{what}='10.0.0.0/16'"
        )
    return str(block)


def bucket(value: Any, what: str) -> str:
    """A bucket with the remote's prefix in it, as ``s3://NAME/PREFIX``.

    ``NAME`` and ``NAME/PREFIX`` are taken too. A bucket may have to be made, so its name keeps to
    the rules of today (S3 user guide, "General purpose bucket naming rules").
    """
    found = text(value, what, "my-bucket/prefix")
    url = S3Remote.checked_url(found if "://" in found else f"s3://{found}")
    bucket_name, _ = bucket_and_prefix(url)
    if not _BUCKET.fullmatch(bucket_name):
        raise UsageError(
            f"{what}={found!r:.120}: {bucket_name!r} must be 3 to 63 lower-case letters, digits,"
            " dots and hyphens",
            hint=f"{what}='my-bucket/prefix'",
        )
    return url


def tags(value: Any, what: str) -> dict[str, str]:
    """Tags (EC2 user guide, "Tag restrictions")."""
    example = f"{what}={{'project': 'x'}}"
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} must be a mapping, not {value!r:.60}", hint=example)
    if len(value) > MOST_TAGS:
        raise UsageError(f"{what} has {len(value)} tags, at most {MOST_TAGS} fit", hint=example)
    for key, told in value.items():
        texts = isinstance(key, str) and isinstance(told, str)
        if not texts or not 1 <= len(key) <= 128 or len(told) > 256:
            raise UsageError(
                f"{what} must have texts, of 1 to 128 characters the keys and up to 256 the"
                f" values, not {key!r:.60}: {told!r:.60}",
                hint=example,
            )
        if not _TAG_KEY.fullmatch(key) or not _TAG.fullmatch(told):
            raise UsageError(
                f"{what} may have letters, digits, spaces and . : / + - @ _, the values = too, not"
                f" {key!r:.60}: {told!r:.60}",
                hint=example,
            )
        if key != key.strip() or told != told.strip():
            # The setting of a job's tags is one line, around whose parts spaces are nothing.
            raise UsageError(
                f"{what} cannot begin or end with a space: {key!r:.60}: {told!r:.60}",
                hint=example,
            )
        if key.lower().startswith(("aws:", "bundlerun:")):
            raise UsageError(f"{what}: the key {key!r} belongs to another owner", hint=example)
    return dict(value)


def texts(value: Any, what: str, example: str) -> tuple[str, ...]:
    """Several texts: a list or a tuple, not a text alone."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise UsageError(
            f"{what} must be a list of texts, not {value!r:.60}", hint=f"{what}=[{example!r}]"
        )
    return tuple(text(each, what, example) for each in value)


def instance_types(value: Any, what: str) -> tuple[str, ...]:
    """Instance types, families, or "optimal"; all of one architecture.

    Source: AWS Batch API reference, ComputeResource, ``instanceTypes``.
    """
    found = texts([value] if isinstance(value, str) else value, what, "m6i")
    if not found:
        raise UsageError(f"{what} must name one at least", hint=f"{what}=['optimal']")
    for each in found:
        _matching(each, what, _INSTANCES, 'types, families or "optimal"', "m6i.xlarge")
    if len({is_arm(each) for each in found}) > 1:
        raise UsageError(
            f"{what}={list(found)} mixes ARM with x86, and an image is made for one of them",
            hint=f"{what}=['m6i', 'c6i']",
        )
    return found


def is_arm(instances: str) -> bool:
    """True for machines with AWS's own ARM processors.

    Source: EC2 user guide, "Amazon EC2 instance type naming conventions" ("g" after the number).
    """
    if instances == "default_arm64" or instances.partition(".")[0] == "a1":
        return True
    code = _CODE.match(instances)
    return bool(code and "g" in code[1])


def image_id(value: Any, what: str) -> str:
    """The id of a machine image."""
    return _matching(value, what, _IMAGE_ID, "the id of a machine image", "ami-0123456789abcdef0")
