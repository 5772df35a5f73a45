"""Buckets as such: whether there is one, whose it is, and its end.

Every function raises CloudError, NoCredentials, AccessDenied or RemoteUnreachable.
"""

from __future__ import annotations

from bundlerun.aws.failures import code_of, passing_over, translated
from bundlerun.aws.session import Aws


def bucket_exists(aws: Aws, bucket: str) -> bool:
    """Whether there is a bucket of this name that this identity may see.

    Raises AccessDenied for one of another account, RemoteUnreachable for one of another region.
    """
    from botocore.exceptions import ClientError

    with translated("looking for the bucket", bucket):
        try:
            aws.client("s3").head_bucket(Bucket=bucket)
        except ClientError as error:
            if code_of(error) != "404":
                raise
            return False
    return True


def bucket_tags(aws: Aws, bucket: str) -> dict[str, str]:
    """The tags of a bucket; none for one that does not exist."""
    from botocore.exceptions import ClientError

    with translated("asking for the tags of the bucket", bucket):
        try:
            found = aws.client("s3").get_bucket_tagging(Bucket=bucket)["TagSet"]
        except ClientError as error:
            if code_of(error) not in ("NoSuchTagSet", "NoSuchBucket"):
                raise
            return {}
    return {row["Key"]: row["Value"] for row in found}


def delete_bucket(aws: Aws, bucket: str) -> None:
    """Delete a bucket and all that is in it, old versions too: it cannot be undone.

    It may be gone already, by an earlier sending too.
    """
    client = aws.client("s3")
    with translated("deleting the bucket", bucket), passing_over({"NoSuchBucket"}):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            rows = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            keys = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
            if keys:
                client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        client.delete_bucket(Bucket=bucket)
