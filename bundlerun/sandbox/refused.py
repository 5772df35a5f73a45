"""An error in the words of AWS."""

from __future__ import annotations

import json

from werkzeug.wrappers import Response


class Refused(Exception):
    """An error as AWS answers it: status, type and message."""

    def __init__(self, message: str, *, status: int = 400, kind: str = "ClientException") -> None:
        super().__init__(message)
        self.response = Response(
            json.dumps({"message": message}),
            status=status,
            headers={"x-amzn-ErrorType": kind},
            content_type="application/json",
        )
