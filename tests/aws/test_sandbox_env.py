"""The sandbox in a shell's environment: exported, restored, and recognised."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundlerun.aws.sandbox_env import ENDPOINT, LARGEST_BYTES
from bundlerun.aws.session import Aws
from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.link import Link
from bundlerun.errors import RemoteError, SettingsError
from bundlerun.progress import SILENT
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import Fetcher
from bundlerun.remotes.s3 import S3Remote
from bundlerun.remotes.upload import send
from bundlerun.sandbox.shell import EXPORTED, exports, restored
from bundlerun.store.store import Store

SANDBOX = "http://127.0.0.1:1"


def test_what_was_set_before_comes_back_and_the_rest_is_unset() -> None:
    """A second up does not take the first one's values for the shell's own."""
    shell = {"AWS_REGION": "eu-west-1", "EDITOR": "vi"}
    once = shell | exports({"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "a"}, shell)
    twice = once | exports({"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "b"}, once)
    assert restored(twice) == {"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": None, EXPORTED: None}


def test_what_was_changed_since_stays() -> None:
    """A profile that the user chose after up is the user's own."""
    shell = exports({"AWS_PROFILE": "default", "AWS_REGION": "us-east-1"}, {})
    assert restored(shell | {"AWS_PROFILE": "team"}) == {"AWS_REGION": None, EXPORTED: None}


def test_a_shell_that_leads_to_no_sandbox_is_left_alone() -> None:
    """Nothing of a user's own AWS is unset."""
    assert restored({"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "http://mine"}) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"AWS_REGION": 1}', '{"AWS_REGION": ["a"]}'])
def test_a_record_that_was_changed_is_refused(text: str) -> None:
    """It names the variable and the cure."""
    with pytest.raises(SettingsError, match=f"unset {EXPORTED}"):
        restored({EXPORTED: text})


@pytest.fixture
def sandboxed(monkeypatch: pytest.MonkeyPatch) -> S3Remote:
    """A remote in a sandbox that nobody has started: whatever asks it fails otherwise."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", SANDBOX)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv(ENDPOINT, SANDBOX)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return S3Remote("s3://bundlerun-sandbox/x", Aws())


def test_what_the_sandbox_cannot_carry_is_refused_before_it_begins(
    sandboxed: S3Remote, tmp_path: Path
) -> None:
    """Neither a push nor a pull of a file that is too large asks the server anything."""
    small, large = Link(digest_of(b"x"), 1), Link(digest_of(b"y"), LARGEST_BYTES + 1)
    store = Store.open(tmp_path / "store")
    binding = Binding(store, store.contexts.create("work"), sandboxed, "uuid")
    with pytest.raises(RemoteError, match="is in the sandbox, which cannot hold"):
        send(binding, [small, large], SILENT)
    with pytest.raises(RemoteError, match="AWS_ENDPOINT_URL_S3"):
        Fetcher(store, sandboxed, "uuid", "x@1").bring([small, large])


def test_another_server_has_no_such_limit(
    sandboxed: S3Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket of another endpoint carries what it can, also while a sandbox is up; so does the
    sandbox up to its limit."""
    sandboxed.check_carries(LARGEST_BYTES)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:2")
    S3Remote("s3://mine/x", Aws()).check_carries(1 << 40)
