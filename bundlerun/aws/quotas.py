"""The account's quotas of vCPUs, by the kind of machines.

The kinds: Amazon EC2 user guide, "EC2 On-Demand Instance quotas" and "Spot Instance quotas"; the
codes: EC2's page in the console of Service Quotas.
"""

from __future__ import annotations

import re
from typing import Any

from bundlerun.aws.failures import translated

ON_DEMAND = {
    "standard": "L-1216C47A",
    "G and VT": "L-DB2E81BA",
    "P": "L-417A185B",
    "F": "L-74FC7D96",
    "Inf": "L-1945791B",
    "X": "L-7295265B",
}
SPOT = {
    "standard": "L-34B43A08",
    "G and VT": "L-3819A6DF",
    "P": "L-7212CCBC",
    "F": "L-88CF9481",
    "Inf": "L-B5D1601B",
    "X": "L-E3A00192",
}
"""The codes of the quotas, each of several families of instances, here and above."""

_STANDARD = frozenset(["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"])
_OTHERS = {"g": "G and VT", "vt": "G and VT", "p": "P", "f": "F", "inf": "Inf", "x": "X"}


def kind_of(instance_type: str) -> str | None:
    """The kind of machines that a type or a family ("m7g") counts for, if it is named."""
    # Both are of standard families (AWS Batch user guide, "Compute environment parameters").
    if instance_type == "optimal" or instance_type.startswith("default_"):
        return "standard"
    family = re.match(r"[a-z]+", instance_type)
    letters = family[0] if family else ""
    return "standard" if letters in _STANDARD else _OTHERS.get(letters)


def vcpus_quota(client: Any, code: str) -> int:
    """The vCPUs that the quota ``code`` of EC2 lets run at once in this region.

    Raises CloudError, NoCredentials, AccessDenied or RemoteUnreachable.
    """
    with translated("asking for the quota of vCPUs", code):
        answer = client.get_service_quota(ServiceCode="ec2", QuotaCode=code)
    return int(answer["Quota"]["Value"])
