"""What carries a tag, of the services of a region."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bundlerun.aws.failures import translated


def tagged(client: Any, key: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The ARN and the tags of whatever has the tag ``key``, a request a hundred.

    Roles of IAM are not told (Resource Groups Tagging API reference, "Services that support the
    Resource Groups Tagging API"), and what was deleted may be told for some time. Raises
    CloudError, NoCredentials, AccessDenied or RemoteUnreachable.
    """
    with translated("asking for what has the tag", key):
        pages = client.get_paginator("get_resources").paginate(
            TagFilters=[{"Key": key}], ResourcesPerPage=100
        )
        for page in pages:
            for row in page["ResourceTagMappingList"]:
                tags = {each["Key"]: each["Value"] for each in row.get("Tags") or ()}
                yield str(row["ResourceARN"]), tags
