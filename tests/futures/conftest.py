"""A remote, and the two machines of a map: the client and a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundlerun.futures.codec import Codec
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.folder import FileRemote
from bundlerun.store.store import Store
from tests.remotes.watched import Counting


@dataclass(frozen=True)
class Machines:
    """``client`` has the store of a workspace, ``job`` a scratch folder; both see one remote, and
    count what they ask of it. ``binding`` is the client's."""

    client: Codec
    job: Codec
    binding: Binding
    of_client: Counting
    of_job: Counting
    scratch: Path


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Two machines and a bound remote, of which nobody asked anything yet."""
    url = f"file://{tmp_path}/remote"
    remotes = [Counting(FileRemote(url)) for _ in range(2)]
    store = Store.open(tmp_path / "store")
    context = bind(store, store.contexts.create("work"), remotes[0])
    binding = Binding.of(store, context, remotes[0])
    for each in remotes:
        each.forget()
    scratch = tmp_path / "scratch"
    yield Machines(
        Codec.of(binding), Codec(remotes[1], scratch), binding, remotes[0], remotes[1], scratch
    )
    store.close()
