"""One AWS identity: its clients, its region, and credentials narrowed for a job.

Credentials are found by boto3's own chain (variables, profile, SSO, container, instance).
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from bundlerun.aws import sandbox_env
from bundlerun.aws.failures import translated
from bundlerun.aws.retries import PATIENCE, Patience, Retries
from bundlerun.connections import Connections
from bundlerun.errors import AccessDenied, NoCredentials, SettingsError
from bundlerun.progress import SILENT, Progress
from bundlerun.settings import AwsSettings, Settings

MAX_CONNECTIONS = 16
"""Connections that one client keeps open: more threads than that wait for one."""

SECRET = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
"""The variables of an identity, which nobody else may see."""

_ROLE_NAME = re.compile(r"/?[\w+=,.@/-]{1,512}", re.ASCII)
"""A role's name with its path (IAM API reference, CreateRole)."""

_PASSED_ON = (
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    sandbox_env.ENDPOINT,
)


class Aws:
    """AWS as one identity in one region, nothing imported or asked before its use.

    ``progress`` is told where a service lets us wait long. Safe to use from threads; a forked
    process makes clients of its own.
    """

    def __init__(
        self,
        settings: AwsSettings | None = None,
        *,
        progress: Progress = SILENT,
        patience: Patience = PATIENCE,
    ) -> None:
        self.settings = settings or AwsSettings()
        self.retries = Retries(patience, progress)
        self._lock = threading.Lock()
        self._pid = 0
        self._account: str | None = None
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    @staticmethod
    def of(connections: Connections) -> Aws:
        """The identity of ``connections``, one for all that is opened by them."""
        return connections.once(_identity)

    @staticmethod
    def shared(connections: Connections, settings: Settings) -> Connections:
        """Connections of the same identity with other ``settings``.

        Their ``[aws]`` must be the same.
        """
        return connections.but(settings, _identity)

    def client(self, service: str) -> Any:
        """The boto3 client of ``service`` ("s3", "batch"); made once.

        Raises NoCredentials for an unknown profile, SettingsError for a wrong configuration or
        where the service needs a region and none is configured.
        """
        with self._lock:
            session = self._opened()
            if service not in self._clients:
                with translated(f"opening {service}", self._who()):
                    client = self._made(session, service)
                    self.retries.install(client)
                    self._clients[service] = client
            return self._clients[service]

    @property
    def region(self) -> str:
        """The region's name.

        Raises SettingsError when none is configured.
        """
        with self._lock:
            region = self._opened().region_name
        if not region:
            raise SettingsError(
                "no AWS region is configured", hint="export AWS_DEFAULT_REGION=REGION"
            )
        return str(region)

    @property
    def partition(self) -> str:
        """The first part of this region's ARNs: "aws", "aws-cn", "aws-us-gov"."""
        with self._lock:
            session = self._opened()
            return str(session.get_partition_for_region(session.region_name or "us-east-1"))

    def account(self) -> str:
        """The account's number.

        Raises NoCredentials, AccessDenied, RemoteUnreachable.
        """
        with translated("asking who we are", self._who()):
            return str(self.client("sts").get_caller_identity()["Account"])

    def role_arn(self, role: str) -> str:
        """The ARN of a role of this account by its name, with its path where it has one.

        An ARN is given back. The account is asked for once. Raises as ``account``, and
        SettingsError for what cannot be the name of a role.
        """
        if role.startswith("arn:"):
            return role
        if not _ROLE_NAME.fullmatch(role):
            raise SettingsError(
                f"{role!r:.80} is neither the name of an IAM role nor its ARN",
                hint="aws iam list-roles",
            )
        if self._account is None:
            self._account = self.account()
        return f"arn:{self.partition}:iam::{self._account}:role/{role.lstrip('/')}"

    def credentials_env(self) -> dict[str, str]:
        """This identity as a container's environment, with region and endpoints.

        A CA bundle is a file, so it is not among them. Raises NoCredentials.
        """
        with self._lock:
            session = self._opened()
            with translated("looking for credentials", self._who()):
                found = session.get_credentials()
                frozen = found and found.get_frozen_credentials()
        if not frozen or not frozen.access_key:
            raise NoCredentials(
                f"there are no AWS credentials ({self._who()})",
                hint="aws configure, or export AWS_PROFILE=NAME",
            )
        return self._environment(frozen.access_key, frozen.secret_key, frozen.token)

    def narrowed(
        self, role_arn: str | None, seconds: int, policy: Mapping[str, Any]
    ) -> dict[str, str]:
        """Credentials for ``seconds`` that do at most what ``policy`` says, as variables.

        With ``role_arn`` by AssumeRole (3,600 s at most from a role), without by
        GetFederationToken, which only an IAM user may call. Raises NoCredentials, AccessDenied.
        """
        # Without spaces: Ceph's parser requires it, and AWS counts the characters (2,048 at most).
        text = json.dumps(policy, separators=(",", ":"))
        sts = self.client("sts")
        role_arn = self.role_arn(role_arn) if role_arn else None
        what = "narrowing the credentials"
        try:
            if role_arn:
                with translated(what, role_arn):
                    answer = sts.assume_role(
                        RoleArn=role_arn,
                        RoleSessionName="bundlerun",
                        DurationSeconds=seconds,
                        Policy=text,
                    )
            else:
                with translated(what, self._who()):
                    answer = sts.get_federation_token(
                        Name="bundlerun", DurationSeconds=seconds, Policy=text
                    )
        except AccessDenied as error:
            raise AccessDenied(
                error.message,
                hint="set session_role_arn in [aws] of config.toml to a role that you may assume",
            ) from error
        found = answer["Credentials"]
        return self._environment(
            found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]
        )

    def prefix_policy(self, bucket: str, prefix: str) -> dict[str, Any]:
        """``policy_below`` of a bucket of this partition."""
        return policy_below(f"arn:{self.partition}:s3:::{bucket}", prefix)

    def _opened(self) -> Any:
        if self._session is None or self._pid != os.getpid():
            with translated("reading the credentials", self._who()):
                self._session = _boto3_session(self.settings)
            self._clients = {}
            self._pid = os.getpid()
        return self._session

    def _made(self, session: Any, service: str) -> Any:
        try:
            return session.client(service, config=self._config(service))
        except ValueError as error:
            # botocore's own word for an endpoint or a number that it cannot read.
            raise SettingsError(
                f"opening {service} with {self._who()}: AWS's configuration is wrong ({error})",
                hint="env | grep ^AWS_",
            ) from error

    def _config(self, service: str) -> Any:
        from botocore.config import Config

        options: dict[str, Any] = {
            # Ours, see retries: botocore is to ask after each attempt, and not to decide.
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "connect_timeout": self.retries.patience.connect_timeout_s,
            "read_timeout": self.retries.patience.read_timeout_s,
            "max_pool_connections": MAX_CONNECTIONS,
        }
        # We send digests that every server enforces; older ones refuse the newer checksums.
        for option in ("request_checksum_calculation", "response_checksum_validation"):
            if option in Config.OPTION_DEFAULTS:
                options[option] = "when_required"
        if service == "s3" and self._own_endpoint():
            # Servers of one's own seldom have a host name a bucket.
            options["s3"] = {"addressing_style": "path"}
        return Config(**options)

    def _own_endpoint(self) -> bool:
        scoped = self._session._session.get_scoped_config()
        return bool(
            os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL")
            or scoped.get("endpoint_url")
            or scoped.get("services")
        )

    def place_env(self) -> dict[str, str]:
        """The region and endpoints as variables, without credentials.

        They are for a job that has a role.
        """
        with self._lock:
            session = self._opened()
            region = session.region_name
            endpoint = session._session.get_scoped_config().get("endpoint_url")
        env = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region} if region else {}
        if endpoint:
            env["AWS_ENDPOINT_URL"] = endpoint
        for name, value in os.environ.items():
            if name in _PASSED_ON or name.startswith("AWS_ENDPOINT_URL"):
                env[name] = value
        return env

    def _environment(self, key: str, secret: str, token: str | None) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            **({"AWS_SESSION_TOKEN": token} if token else {}),
            **self.place_env(),
        }

    def _who(self) -> str:
        profile = self.settings.profile or os.environ.get("AWS_PROFILE")
        return f"profile {profile}" if profile else "the default credentials"


def policy_below(arn: str, prefix: str) -> dict[str, Any]:
    """The policy of a job: reads, writes and lists below ``prefix`` alone.

    ``arn`` is the bucket's, ``prefix`` has no slash at its ends; empty means the whole bucket. A
    job cannot delete.
    """
    below = f"{prefix}/*" if prefix else "*"
    listing: dict[str, Any] = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [arn],
    }
    if prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": [below]}}
    objects = {
        "Effect": "Allow",
        "Action": [
            "s3:GetObject",
            "s3:PutObject",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
        ],
        "Resource": [f"{arn}/{below}"],
    }
    return {"Version": "2012-10-17", "Statement": [listing, objects]}


def _identity(connections: Connections) -> Aws:
    return Aws(connections.settings.aws, progress=connections.progress)


def clients_of(endpoint: str, secrets: Mapping[str, str], region: str) -> Callable[[str], Any]:
    """The factory of boto3's clients of ``endpoint`` alone, by service.

    No profile and no proxy gets between. ``secrets`` has the access key's two variables.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    bare = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    session = boto3.session.Session(
        aws_access_key_id=secrets["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secrets["AWS_SECRET_ACCESS_KEY"],
        region_name=region,
        botocore_session=bare,
    )
    config = Config(proxies={}, connect_timeout=5, read_timeout=30, s3={"addressing_style": "path"})
    return partial(session.client, endpoint_url=endpoint, config=config)


def _boto3_session(settings: AwsSettings) -> Any:
    """A boto3 session that shares the descriptions of the services with the others."""
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    if settings.credentials_file is not None:
        path = os.path.expanduser(settings.credentials_file)
        if not os.path.isfile(path):
            # botocore would look elsewhere, and perhaps find somebody else.
            raise SettingsError(
                f"the credentials_file of [aws] in config.toml is not there: {path}",
                hint=f"ls -l {path}",
            )
        core.set_config_variable("credentials_file", path)
    if settings.profile is not None:
        core.set_config_variable("profile", settings.profile)
    loader = _loader(core.get_config_variable("data_path"))
    core.register_component("data_loader", loader)
    session = boto3.session.Session(botocore_session=core, region_name=settings.region)
    # boto3 has added its own folder, once more.
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)
    return session


@cache
def _loader(data_path: str | None) -> Any:
    """botocore's reader of descriptions below ``data_path``, which keeps them parsed.

    Parsing takes longer than all else of opening a service.
    """
    from botocore.loaders import create_loader

    return create_loader(data_path)
