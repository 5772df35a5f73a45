"""The parts of IAM policies: where they hold, and their statements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bundlerun.aws.session import Aws
from bundlerun.provision.templates import Json

ANY = "*"


@dataclass(frozen=True)
class Place:
    """Where a policy holds: partition, region and account of its ARNs; "*" is any."""

    partition: str = "aws"
    region: str = ANY
    account: str = ANY

    @classmethod
    def of(cls, aws: Aws) -> Place:
        """The place of an identity.

        Raises NoCredentials, AccessDenied, RemoteUnreachable, SettingsError.
        """
        return cls(aws.partition, aws.region, aws.account())

    def arn(self, service: str, what: str) -> str:
        """The ARN of a thing of a region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{what}"

    def iam(self, kind: str, name: str) -> str:
        """The ARN of a role or profile, by its name with its path; an ARN is given back."""
        if name.startswith("arn:"):
            return name
        return f"arn:{self.partition}:iam::{self.account}:{kind}/{name.lstrip('/')}"

    def s3(self, what: str) -> str:
        """The ARN of a bucket or of objects."""
        return f"arn:{self.partition}:s3:::{what}"


def allow(name: str, actions: Iterable[str], resources: Iterable[str]) -> Json:
    """A statement that allows actions on resources (ARNs)."""
    return {
        "Sid": name,
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": list(resources),
    }


def passing(name: str, roles: Iterable[str], services: Sequence[str]) -> Json:
    """A statement that lets roles be given to these services alone.

    Source: IAM user guide, "Granting a user permissions to pass a role", ``iam:PassedToService``.
    """
    row = allow(name, ["iam:PassRole"], roles)
    return {**row, "Condition": {"StringEquals": {"iam:PassedToService": list(services)}}}


def owned(row: Json, tag: str) -> Json:
    """A statement for things that carry a tag of ours alone, whatever its value."""
    return {**row, "Condition": {"Null": {f"aws:ResourceTag/{tag}": "false"}}}


def policy(statements: Sequence[Json]) -> Json:
    """A whole policy document; statements about the same things become one.

    A policy of a user, group or role has 6,144 characters at most (IAM user guide, "IAM and AWS
    STS quotas").
    """
    merged: dict[str, Json] = {}
    for row in statements:
        where = json.dumps([row["Resource"], row.get("Condition")])
        known = merged.setdefault(where, row)
        merged[where] = {**known, "Action": sorted({*known["Action"], *row["Action"]})}
    return {"Version": "2012-10-17", "Statement": list(merged.values())}
