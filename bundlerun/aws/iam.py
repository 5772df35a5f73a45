"""The calls to IAM, one function each.

Every function raises CloudError, NoCredentials, AccessDenied or RemoteUnreachable.
"""

from __future__ import annotations

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
