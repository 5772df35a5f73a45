"""The end of a subnet, which moto's route tables do not notice."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from moto.ec2.models import ec2_backends

from bundlerun.sandbox.contents import ACCOUNT, REGION
from bundlerun.sandbox.upstream import Wsgi


class Network:
    """A WSGI application: associations end with their subnet; ``moto`` does all else.

    Source: VPC user guide, "Delete a subnet".
    """

    def __init__(self, moto: Wsgi) -> None:
        self._moto = moto

    def __call__(self, wsgi: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        if "/ec2/aws4_request" not in wsgi.get("HTTP_AUTHORIZATION", ""):
            return self._moto(wsgi, start_response)
        data = wsgi["wsgi.input"].read(int(wsgi.get("CONTENT_LENGTH") or 0))
        wsgi["wsgi.input"] = io.BytesIO(data)
        asked = dict(parse_qsl(data.decode()))
        answer = list(self._moto(wsgi, start_response))
        if asked.get("Action") == "DeleteSubnet":
            _end_associations()
        return answer


def _end_associations() -> None:
    """Forget the associations of subnets that do not exist."""
    ec2 = ec2_backends[ACCOUNT][REGION]
    subnets = {each for zone in ec2.subnets.values() for each in zone}
    for table in ec2.route_tables.values():
        for association, subnet in list(table._associations.items()):
            if subnet.startswith("subnet-") and subnet not in subnets:
                del table._associations[association]
