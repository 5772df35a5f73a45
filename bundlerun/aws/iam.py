"""The calls to IAM, one function each.

Every function raises CloudError, NoCredentials, AccessDenied or RemoteUnreachable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bundlerun.aws.failures import code_of, translated


def role_arn(client: Any, name: str) -> str | None:
    """The ARN of the role ``name``; None without one."""
    from botocore.exceptions import ClientError

    with translated("looking for the role", name):
        try:
            return str(client.get_role(RoleName=name)["Role"]["Arn"])
        except ClientError as error:
            if code_of(error) != "NoSuchEntity":
                raise
            return None


def instance_profiles(client: Any, role: str) -> list[str]:
    """The ARNs of the instance profiles that have the role ``role``, which must exist."""
    with translated("looking for the instance profiles of", role):
        pages = client.get_paginator("list_instance_profiles_for_role").paginate(RoleName=role)
        return [str(row["Arn"]) for page in pages for row in page["InstanceProfiles"]]


def roles(client: Any) -> Iterator[Mapping[str, Any]]:
    """Every role of the account, without its tags; up to a thousand a request."""
    with translated("asking for the roles", "IAM"):
        for page in client.get_paginator("list_roles").paginate(
            PaginationConfig={"PageSize": 1000}
        ):
            yield from page["Roles"]


def role_tags(client: Any, name: str) -> dict[str, str]:
    """The tags of a role; none for one that does not exist."""
    from botocore.exceptions import ClientError

    with translated("asking for the tags of the role", name):
        try:
            pages = list(client.get_paginator("list_role_tags").paginate(RoleName=name))
        except ClientError as error:
            if code_of(error) != "NoSuchEntity":
                raise
            return {}
    return {row["Key"]: row["Value"] for page in pages for row in page["Tags"]}
