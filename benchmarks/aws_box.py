"""An AWS in a box, for the works that make resources and map functions: moto, with the sandbox's
Batch and CloudFormation in front of it, which counts what it is asked.

Jobs are not containers: ``aws_jobs`` carries them out in this process, once they may end. What it
asks of S3 goes to a second port, where nothing is counted.

Control address, as that of the counting proxy: ``GET /-/counts`` answers how often each operation
was asked for, ``GET /-/reset`` does the same and sets them to zero; ``GET /-/go`` lets the jobs
end, ``GET /-/hold`` keeps them running.

``python aws_box.py [--plain]`` prints its address, and serves until its standard input ends.
``--plain``: without the sandbox's CloudFormation, which serves less than moto's of what bundlerun
does not use (a stack's exports) and is stricter for the rest.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from figures import SideFailed
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

REGION = "us-east-1"

_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")
_CONTROL = "/-/"
_Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def variables(url: str) -> dict[str, str]:
    """The variables that lead a process to the box at ``url``."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "box",
        "AWS_SECRET_ACCESS_KEY": "box",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


@contextmanager
def aws_box(env: Mapping[str, str], *, plain: bool = False) -> Iterator[dict[str, str]]:
    """A new box in a process of its own, and the variables that lead to it.

    Raises SideFailed where it does not start: without an address a client would go to AWS itself.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *(["--plain"] if plain else [])]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**env}) as box:
        assert box.stdin is not None
        assert box.stdout is not None
        try:
            url = box.stdout.readline().strip()
            if not url:
                raise SideFailed("the AWS in a box does not start")
            yield variables(url)
        finally:
            box.stdin.close()


class Counted:
    """A WSGI application that counts the operations that ``app`` is asked for."""

    def __init__(self, app: _Wsgi, verbs: Mapping[str, Callable[[], None]]) -> None:
        self._app = app
        self._verbs = verbs
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, wsgi: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        path = str(wsgi["PATH_INFO"])
        if path.startswith(_CONTROL):
            return self._control(path.removeprefix(_CONTROL))(wsgi, start_response)
        name = operation(wsgi)
        with self._lock:
            self._counts[name] += 1
        return self._app(wsgi, start_response)

    def _control(self, verb: str) -> Response:
        self._verbs.get(verb, lambda: None)()
        with self._lock:
            found = dict(sorted(self._counts.items()))
            if verb == "reset":
                self._counts.clear()
        answer = {"requests": sum(found.values()), "operations": found}
        return Response(json.dumps(answer), content_type="application/json")


def operation(wsgi: dict[str, Any]) -> str:
    """What a request asks for, such as "cloudformation.CreateStack"; of S3 its method alone."""
    scope = _SCOPE.search(wsgi.get("HTTP_AUTHORIZATION", ""))
    service = scope[1] if scope else "unsigned"
    if service == "s3":
        return f"s3.{wsgi['REQUEST_METHOD']}"
    target = str(wsgi.get("HTTP_X_AMZ_TARGET", ""))
    if target:
        return f"{service}.{target.rpartition('.')[2]}"
    if service == "batch":
        return f"batch.{str(wsgi['PATH_INFO']).rpartition('/')[2]}"
    data = wsgi["wsgi.input"].read(int(wsgi.get("CONTENT_LENGTH") or 0))
    wsgi["wsgi.input"] = io.BytesIO(data)
    return f"{service}.{parse_qs(data.decode()).get('Action', ['?'])[0]}"


@contextmanager
def _served(app: _Wsgi) -> Iterator[str]:
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    class Handler(MotoRequestHandler):
        # As AWS does, connections are kept.
        protocol_version = "HTTP/1.1"

        def log(self, *_: object) -> None:
            """Say nothing."""

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def _application(plain: bool, run: Any) -> _Wsgi:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from bundlerun.sandbox.app import application
    from bundlerun.sandbox.batch import Batch

    return (
        Batch(DomainDispatcherApplication(create_backend_app), run) if plain else application(run)
    )


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(description="An AWS in a box that counts what it is asked.")
    parser.add_argument("--plain", action="store_true", help="moto's own CloudFormation")
    given = parser.parse_args()
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    from aws_jobs import Jobs

    jobs = Jobs()
    verbs = {"go": jobs.may_end.set, "hold": jobs.may_end.clear}
    app = _application(given.plain, jobs.run)
    with ExitStack() as stack:
        os.environ.update(variables(stack.enter_context(_served(app))))
        print(stack.enter_context(_served(Counted(app, verbs))), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
