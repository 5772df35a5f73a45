"""The account's container registry: a repository to push to, and a login for it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from bundlerun.aws.failures import code_of, passing_over, translated
from bundlerun.aws.session import Aws
from bundlerun.connections import Connections
from bundlerun.errors import CloudError


@dataclass(frozen=True)
class EcrRepository:
    """A repository of ECR, with a login that AWS lets live for twelve hours.

    ``address`` is the registry's host, ``name`` the repository's name in it.
    """

    address: str
    name: str
    username: str
    password: str = field(repr=False)


def open_repository(connections: Connections, name: str) -> EcrRepository:
    """``ecr_repository`` of the account of ``connections``."""
    return ecr_repository(Aws.of(connections), name)


def registry_owner(connections: Connections) -> str:
    """The account and region of ``connections``, asked for once."""
    return connections.once(_owner)


def _owner(connections: Connections) -> str:
    aws = Aws.of(connections)
    return f"{aws.account()} {aws.region}"


def ecr_repository(aws: Aws, name: str) -> EcrRepository:
    """The repository ``name`` of the account's registry, with a login.

    It is made when it is missing (images scanned on push, tags movable). Raises NoCredentials,
    AccessDenied, RemoteUnreachable or CloudError.
    """
    uri = repository_uri(aws, name) or _created(aws, name)
    with translated("getting a login", "ECR"):
        answer = aws.client("ecr").get_authorization_token()
    token = answer["authorizationData"][0]["authorizationToken"]
    username, colon, password = base64.b64decode(token).decode().partition(":")
    if not colon:
        raise CloudError(
            "ecr: GetAuthorizationToken returned a token without a password",
            hint="aws ecr get-login-password",
        )
    return EcrRepository(uri.removesuffix(f"/{name}"), name, username, password)


def repository_uri(aws: Aws, name: str) -> str | None:
    """The address of the repository ``name`` of the account, None without one.

    Raises as ``ecr_repository`` does.
    """
    from botocore.exceptions import ClientError

    with translated(f"looking for the repository {name}", "ECR"):
        try:
            answer = aws.client("ecr").describe_repositories(repositoryNames=[name])
        except ClientError as error:
            if code_of(error) != "RepositoryNotFoundException":
                raise
            return None
    return str(answer["repositories"][0]["repositoryUri"])


def _created(aws: Aws, name: str) -> str:
    from botocore.exceptions import ClientError

    with translated(f"making the repository {name}", "ECR"):
        try:
            answer = aws.client("ecr").create_repository(
                repositoryName=name,
                # `latest` moves with each push.
                imageTagMutability="MUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
            )
            return str(answer["repository"]["repositoryUri"])
        except ClientError as error:
            if code_of(error) != "RepositoryAlreadyExistsException":
                raise
    # Another client made it since we looked.
    found = repository_uri(aws, name)
    if found is None:
        raise CloudError(
            f"ecr: the repository {name} is created and deleted by others at the same time",
            hint="the same command again",
        )
    return found


def repository_tags(aws: Aws, name: str) -> dict[str, str]:
    """The tags of a repository; none for one that does not exist."""
    client = aws.client("ecr")
    with translated(f"looking for the repository {name}", "ECR"):
        try:
            arn = client.describe_repositories(repositoryNames=[name])["repositories"][0]
            found = client.list_tags_for_resource(resourceArn=arn["repositoryArn"])["tags"]
        except client.exceptions.RepositoryNotFoundException:
            return {}
    return {row["Key"]: row["Value"] for row in found}


def delete_repository(aws: Aws, name: str) -> None:
    """Delete a repository with its images: it cannot be undone.

    It may be gone already, by an earlier sending too.
    """
    gone = passing_over({"RepositoryNotFoundException"})
    with translated(f"deleting the repository {name}", "ECR"), gone:
        aws.client("ecr").delete_repository(repositoryName=name, force=True)
