"""EC2's quotas of vCPUs, of which moto knows none."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from werkzeug.wrappers import Response

from bundlerun.aws.quotas import ON_DEMAND, SPOT
from bundlerun.sandbox.refused import Refused
from bundlerun.sandbox.upstream import Wsgi

VCPUS: Mapping[str, float] = {
    **{code: 0.0 for code in (*ON_DEMAND.values(), *SPOT.values())},
    ON_DEMAND["standard"]: 5.0,
    SPOT["standard"]: 5.0,
}
"""The vCPUs that a new account may run at once, by the code of the quota.

Source: EC2 user guide, "EC2 On-Demand Instance quotas" and "Spot Instance quotas", defaults.
"""


class Quotas:
    """A WSGI application: GetServiceQuota of EC2, and ``moto`` for all else."""

    def __init__(self, moto: Wsgi, vcpus: Mapping[str, float] = VCPUS) -> None:
        self._moto = moto
        self._vcpus = vcpus

    def __call__(self, wsgi: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        if wsgi.get("HTTP_X_AMZ_TARGET") != "ServiceQuotasV20190624.GetServiceQuota":
            return self._moto(wsgi, start_response)
        data = wsgi["wsgi.input"].read(int(wsgi.get("CONTENT_LENGTH") or 0))
        wsgi["wsgi.input"] = io.BytesIO(data)
        asked = json.loads(data)
        if asked.get("ServiceCode") != "ec2":
            return self._moto(wsgi, start_response)
        code = str(asked.get("QuotaCode"))
        if code not in self._vcpus:
            refused = Refused(f"there is no quota {code}", kind="NoSuchResourceException")
            return refused.response(wsgi, start_response)
        quota = {"ServiceCode": "ec2", "QuotaCode": code, "Value": self._vcpus[code]}
        answer = Response(json.dumps({"Quota": quota}), content_type="application/x-amz-json-1.1")
        return answer(wsgi, start_response)
