"""Reading a CloudWatch log stream forward, from where the last reading ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bundlerun.aws.failures import translated


class LogStream:
    """One stream of a log group.

    It remembers its place, so no line is given twice.
    """

    def __init__(self, client: Any, group: str, stream: str) -> None:
        self._client = client
        self._group = group
        self._stream = stream
        self._token: str | None = None

    def new_lines(self) -> Iterator[str]:
        """The lines since the last call; none while the stream does not exist yet.

        CloudWatch's end is a token equal to the one sent, not an empty page (API reference,
        GetLogEvents, ``nextForwardToken``). Raises CloudError, NoCredentials, AccessDenied or
        RemoteUnreachable.
        """
        while True:
            answer = self._page()
            if answer is None:
                return
            token = answer.get("nextForwardToken")
            at_end = token is None or token == self._token
            self._token = token or self._token
            for event in answer["events"]:
                yield str(event["message"]).rstrip("\r\n")
            if at_end:
                return

    def _page(self) -> Any:
        place = {"nextToken": self._token} if self._token else {"startFromHead": True}
        with translated("reading the log", f"{self._group}/{self._stream}"):
            try:
                return self._client.get_log_events(
                    logGroupName=self._group, logStreamName=self._stream, **place
                )
            except self._client.exceptions.ResourceNotFoundException:
                return None
