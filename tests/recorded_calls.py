"""The operations of AWS that bundlerun calls, as the suites record them.

Every test fails that has bundlerun call an operation which the table of its flow lacks. What
``bundlerun aws policy`` prints is compared with the tables (``tests/provision/test_policies.py``),
and the tables with the code, so that neither has too much. Where ``BUNDLERUN_RECORD_CALLS`` names a
file, what a session recorded is appended to it, a line an operation, and no test fails for it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import bundlerun

PACKAGE = str(Path(bundlerun.__file__).parent) + os.sep
PROVISIONS = (PACKAGE + "provision" + os.sep, PACKAGE + os.path.join("api", "resources.py"))
SANDBOX = PACKAGE + "sandbox" + os.sep

RUN = frozenset(
    {
        "batch:DescribeComputeEnvironments",
        "batch:DescribeJobDefinitions",
        "batch:DescribeJobQueues",
        "batch:DescribeJobs",
        "batch:ListJobs",
        "batch:RegisterJobDefinition",
        "batch:SubmitJob",
        "batch:TerminateJob",
        "ecr:CreateRepository",
        "ecr:DescribeRepositories",
        "ecr:GetAuthorizationToken",
        "logs:GetLogEvents",
        "s3:AbortMultipartUpload",
        "s3:CompleteMultipartUpload",
        "s3:CreateMultipartUpload",
        "s3:DeleteObjects",
        "s3:GetObject",
        # Of botocore, which asks so where a bucket is that another region has.
        "s3:HeadBucket",
        "s3:ListMultipartUploads",
        "s3:ListObjectsV2",
        "s3:ListParts",
        "s3:PutObject",
        "s3:UploadPart",
        "sts:AssumeRole",
        "sts:GetCallerIdentity",
        "sts:GetFederationToken",
    }
)
"""Those of a client that pushes, pulls, submits, follows, reads and ends."""

PROVISION = frozenset(
    {
        "batch:DeleteComputeEnvironment",
        "batch:DeleteJobQueue",
        "batch:DeregisterJobDefinition",
        "batch:GetJobQueueSnapshot",
        "batch:UpdateComputeEnvironment",
        "batch:UpdateJobQueue",
        "cloudformation:CreateStack",
        "cloudformation:DeleteStack",
        "cloudformation:DescribeStackEvents",
        "cloudformation:DescribeStacks",
        "cloudformation:GetTemplate",
        "ec2:DeleteInternetGateway",
        "ec2:DeleteLaunchTemplate",
        "ec2:DeleteRouteTable",
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteSubnet",
        "ec2:DeleteVpc",
        "ec2:DeleteVpcEndpoints",
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeImages",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeInternetGateways",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcEndpoints",
        "ec2:DescribeVpcs",
        "ec2:DetachInternetGateway",
        "ecr:DeleteRepository",
        "ecr:ListTagsForResource",
        "iam:DeleteInstanceProfile",
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:GetRole",
        "iam:ListAttachedRolePolicies",
        "iam:ListInstanceProfilesForRole",
        "iam:ListRolePolicies",
        "iam:ListRoleTags",
        "iam:ListRoles",
        "iam:RemoveRoleFromInstanceProfile",
        "logs:DeleteLogGroup",
        "resourcegroupstaggingapi:GetResources",
        "s3:DeleteBucket",
        "s3:GetBucketTagging",
        "s3:ListObjectVersions",
        "service-quotas:GetServiceQuota",
    }
)
"""Those of what makes, finds, shows and deletes Pars and Knots, and of nothing else."""

recorded: set[tuple[str, str]] = set()
"""Flow and operation of this session."""

_FILE = os.environ.get("BUNDLERUN_RECORD_CALLS")


def _record(model: Any, **_: Any) -> None:
    flow = _flow()
    if flow:
        recorded.add((flow, f"{model.service_model.service_name}:{model.name}"))


def _flow() -> str:
    """Which part of bundlerun calls: "run", "provision"; empty for a test or the sandbox."""
    frame = sys._getframe(1)
    caller = ""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PROVISIONS):
            return "provision"
        if not caller and f"{os.sep}boto" not in path and path != __file__:
            if not path.startswith(PACKAGE) or path.startswith(SANDBOX):
                return ""
            caller = path
        frame = frame.f_back  # type: ignore[assignment]
    return "run" if caller else ""


def install() -> None:
    """Record what every botocore session of this process calls from now on."""
    from botocore.handlers import BUILTIN_HANDLERS

    BUILTIN_HANDLERS.append(("before-call", _record))


def unlisted() -> list[tuple[str, str]]:
    """Flows and operations that were recorded and stand in no table of their flow."""
    known = {"run": RUN, "provision": RUN | PROVISION}
    return sorted(each for each in recorded.copy() if each[1] not in known[each[0]])


def writes() -> bool:
    """Whether this session is there to record."""
    return _FILE is not None


def write() -> None:
    """Append what was recorded to the file that the caller's environment names."""
    if _FILE:
        with Path(_FILE).open("a") as out:
            out.writelines(f"{flow} {call}\n" for flow, call in sorted(recorded))
