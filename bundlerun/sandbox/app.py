"""The sandbox's server: moto's AWS, with AWS Batch's jobs in front of it.

``python -m bundlerun.sandbox.app -H HOST -p PORT`` serves until SIGTERM or SIGINT, and ends the
containers of its jobs then.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

from bundlerun.sandbox.batch import Batch
from bundlerun.sandbox.batch_attempt import Runner
from bundlerun.sandbox.batch_jobs import Jobs
from bundlerun.sandbox.batch_submit import LEAST_TIMEOUT_S
from bundlerun.sandbox.cloudformation import CloudFormation
from bundlerun.sandbox.containers import Containers
from bundlerun.sandbox.network import Network
from bundlerun.sandbox.quotas import Quotas
from bundlerun.sandbox.tagged import tell_all
from bundlerun.sandbox.upstream import Wsgi


def application(run: Runner, failing: Mapping[str, str] | None = None, **options: Any) -> Batch:
    """An AWS whose jobs ``run`` carries out.

    ``failing`` has, by logical id, why a resource of a stack cannot be made; ``options`` are those
    of ``Batch``. What moto knows of the rest is one a process.
    """
    moto = Network(Quotas(DomainDispatcherApplication(create_backend_app)))
    tell_all()
    return Batch(CloudFormation(moto, {} if failing is None else failing), run, **options)


@contextmanager
def serving(app: Wsgi, jobs: Jobs) -> Iterator[str]:
    """The address of ``app``, served by threads of this process.

    Those of its ``jobs`` that run at the end of the block are killed.
    """
    server = _server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        jobs.close()
        server.shutdown()
        thread.join()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-H", "--host", default="127.0.0.1")
    parser.add_argument("-p", "--port", type=int, required=True)
    parser.add_argument("--least-timeout-s", type=int, default=LEAST_TIMEOUT_S)
    given = parser.parse_args(argv)

    def leave(number: int, _: Any) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    app = application(Containers(), least_timeout_s=given.least_timeout_s)
    server = _server(app, given.host, given.port)
    sys.stderr.write(f"Running on http://{given.host}:{given.port}\n")
    sys.stderr.flush()
    try:
        server.serve_forever()
    finally:
        app.jobs.close()


def _server(app: Wsgi, host: str, port: int) -> BaseWSGIServer:
    return make_server(host, port, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
