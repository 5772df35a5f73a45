"""Real S3 with a proxy before it that makes faults, and stores of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bundlerun.aws.retries import PATIENCE, Patience
from bundlerun.aws.session import Aws
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.binding import bind
from bundlerun.remotes.s3 import S3Remote
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store
from tests.faults.proxy import Chooser, FaultProxy
from tests.services import S3Server
from tests.store.conftest import small_disk as small_disk


def pytest_itemcollected(item: pytest.Item) -> None:
    """Each waits for a proxy, or fills a disk: the complete suite has time for them."""
    item.add_marker("heavy")


Faulty = Callable[..., tuple[S3Remote, FaultProxy]]
Client = tuple[Store, Context, S3Remote]


@pytest.fixture
def s3_url(s3_env: dict[str, str], s3_bucket: str) -> str:
    """An empty place for a remote on the real server."""
    return f"s3://{s3_bucket}/some/prefix"


@pytest.fixture
def faulty(s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """Makes a remote at ``s3_url`` that is reached through a proxy with the chosen faults, by a
    client of the given patience that tells ``progress`` what it waits for."""
    with ExitStack() as stack:

        def make(
            choose: Chooser, patience: Patience = PATIENCE, progress: Progress = SILENT
        ) -> tuple[S3Remote, FaultProxy]:
            proxy = FaultProxy(s3_server.endpoint_url, choose)
            stack.enter_context(proxy)
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
            aws = Aws(patience=patience, progress=progress)
            aws.client("s3")
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint_url)
            return S3Remote(s3_url, aws), proxy

        yield make


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str, S3Remote], Client]]:
    """Makes a store with a context that is bound to a remote: another machine each."""
    stores: list[Store] = []

    def make(name: str, remote: S3Remote) -> Client:
        store = Store.open(tmp_path / name)
        stores.append(store)
        return store, bind(store, store.contexts.create("work"), remote), remote

    yield make
    for store in stores:
        store.close()
