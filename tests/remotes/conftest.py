"""Stores and remotes of a test's own."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundlerun.aws.session import Aws
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import bind
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.s3 import S3Remote
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store
from tests.remotes.watched import Counting


def pytest_itemcollected(item: pytest.Item) -> None:
    """Most carry megabytes: the complete suite has time for them."""
    item.add_marker("heavy")


ON_S3 = pytest.param("s3", marks=[pytest.mark.service, pytest.mark.s3])

Client = tuple[Store, Context, Counting]


@pytest.fixture(params=["file", ON_S3])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty place for a remote, of each kind."""
    if request.param == "file":
        return f"file://{tmp_path}/remote"
    request.getfixturevalue("s3_env")
    return f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix"


@pytest.fixture
def client(url: str, tmp_path: Path) -> Iterator[Callable[[str], Client]]:
    """Makes a store with a context that is bound to the test's remote: another machine each."""
    stores: list[Store] = []

    def make(name: str) -> Client:
        store = Store.open(tmp_path / name)
        stores.append(store)
        remote = Counting(remote_at(url))
        context = bind(store, store.contexts.create("work"), remote)
        remote.forget()
        return store, context, remote

    yield make
    for store in stores:
        store.close()


def remote_at(url: str) -> Remote:
    """The remote at ``url``."""
    if url.startswith("file:"):
        return FileRemote(url)
    return S3Remote(url, identity(os.environ["AWS_ENDPOINT_URL_S3"]))


@functools.lru_cache
def identity(endpoint_url: str) -> Aws:
    """The test user: one client a process, since making one takes a quarter of a second."""
    return Aws()
