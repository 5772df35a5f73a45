"""CloudFormation's calls that make and delete stacks, in front of moto."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.utils import generate_stack_id
from werkzeug.wrappers import Response

from bundlerun.sandbox.contents import ACCOUNT
from bundlerun.sandbox.stacks import ServedStack, check_template
from bundlerun.sandbox.upstream import Wsgi

LARGEST_TEMPLATE = 51_200
"""Bytes of a TemplateBody (API reference, CreateStack)."""

_REGION = re.compile(r"/([a-z0-9-]+)/cloudformation/aws4_request")


class Refusal(Exception):
    """An error as CloudFormation answers it."""

    def __init__(self, message: str, code: str = "ValidationError") -> None:
        super().__init__(message)
        self.response = Response(
            "<ErrorResponse><Error><Type>Sender</Type>"
            f"<Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>",
            status=400,
            content_type="text/xml",
        )


class CloudFormation:
    """A WSGI application: the lives of stacks, and ``moto`` for all else.

    ``failing`` has, by logical id, why a resource cannot be made: a test puts it there.
    """

    def __init__(self, moto: Wsgi, failing: Mapping[str, str]) -> None:
        self._failing = failing
        self._moto = moto
        self._naming = threading.Lock()

    def __call__(self, wsgi: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        scope = _REGION.search(wsgi.get("HTTP_AUTHORIZATION", ""))
        if scope is None:
            return self._moto(wsgi, start_response)
        data = wsgi["wsgi.input"].read(int(wsgi.get("CONTENT_LENGTH") or 0))
        wsgi["wsgi.input"] = io.BytesIO(data)
        asked = dict(parse_qsl(data.decode(), keep_blank_values=True))
        carry_out = {
            "CreateStack": self._create,
            "DeleteStack": self._delete,
            "UpdateTerminationProtection": self._protect,
        }.get(asked.get("Action", ""))
        if carry_out is None:
            return self._moto(wsgi, start_response)
        try:
            stack_id = carry_out(cloudformation_backends[ACCOUNT][scope[1]], asked)
        except Refusal as refusal:
            return refusal.response(wsgi, start_response)
        action = asked["Action"]
        text = (
            f'<{action}Response xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">'
            f"<{action}Result><StackId>{stack_id}</StackId></{action}Result></{action}Response>"
        )
        return Response(text, content_type="text/xml")(wsgi, start_response)

    def _create(self, backend: Any, asked: dict[str, str]) -> str:
        name, body = asked["StackName"], asked.get("TemplateBody")
        if body is None or len(body.encode()) > LARGEST_TEMPLATE:
            raise Refusal("this sandbox takes a TemplateBody of at most 51200 bytes alone")
        with self._naming:
            stack = self._named(backend, name, body, asked)
        stack.create_resources()
        return str(stack.stack_id)

    def _named(self, backend: Any, name: str, body: str, asked: dict[str, str]) -> ServedStack:
        """The stack, kept under its name, of which there is one."""
        if any(stack.name == name for stack in backend.stacks.values()):
            raise Refusal(f"Stack [{name}] already exists", "AlreadyExistsException")
        try:
            check_template(ServedStack.parse_template(body), _rows(asked, "Capabilities"))
            stack = ServedStack(
                stack_id=generate_stack_id(name, backend.region_name, ACCOUNT),
                name=name,
                template=body,
                parameters=_pairs(asked, "Parameters", "ParameterKey", "ParameterValue"),
                account_id=ACCOUNT,
                region_name=backend.region_name,
                tags=_pairs(asked, "Tags", "Key", "Value"),
                role_arn=asked.get("RoleARN"),
                enable_termination_protection=asked.get("EnableTerminationProtection") == "true",
            )
        except PermissionError as error:
            raise Refusal(str(error), "InsufficientCapabilitiesException") from error
        except Exception as error:
            # What moto finds wrong with a template has a message of CloudFormation's.
            raise Refusal(getattr(error, "message", None) or str(error)) from error
        kept = "DO_NOTHING" if asked.get("DisableRollback") == "true" else "ROLLBACK"
        stack.on_failure = asked.get("OnFailure", kept)
        stack.failing = self._failing
        stack.forget = lambda: _forget(backend, stack)
        backend.stacks[stack.stack_id] = stack
        return stack

    def _delete(self, backend: Any, asked: dict[str, str]) -> str:
        stack = _find(backend, asked["StackName"])
        if stack is None:
            # No error: it may have been deleted before (API reference, DeleteStack).
            return ""
        if stack.enable_termination_protection:
            raise Refusal(
                f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
        if not stack.delete_resources():
            raise Refusal(f"Stack [{stack.name}] cannot be deleted while in {stack.status}")
        return str(stack.stack_id)

    def _protect(self, backend: Any, asked: dict[str, str]) -> str:
        stack = _find(backend, asked["StackName"])
        if stack is None:
            raise Refusal(f"Stack [{asked['StackName']}] does not exist")
        stack.enable_termination_protection = asked["EnableTerminationProtection"] == "true"
        return str(stack.stack_id)


def _find(backend: Any, wanted: str) -> Any:
    stacks = list(backend.stacks.values())
    return next((stack for stack in stacks if wanted in (stack.name, stack.stack_id)), None)


def _forget(backend: Any, stack: ServedStack) -> None:
    """Free the name of a stack; its id still tells of it."""
    backend.deleted_stacks[stack.stack_id] = stack
    del backend.stacks[stack.stack_id]


def _rows(asked: dict[str, str], name: str) -> list[str]:
    return [text for key, text in asked.items() if key.startswith(f"{name}.member.")]


def _pairs(asked: dict[str, str], name: str, key: str, value: str) -> dict[str, str]:
    found = {}
    for each, text in asked.items():
        if each.startswith(f"{name}.member.") and each.endswith(f".{key}"):
            found[text] = asked.get(f"{each.rpartition('.')[0]}.{value}", "")
    return found
