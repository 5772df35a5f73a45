"""Settings: one file, the environment over it, and errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundlerun.errors import SettingsError
from bundlerun.settings import Settings, read_settings


def settings(home: Path, text: str = "", **variables: str) -> Settings:
    """The settings of a home folder with this config.toml."""
    if text:
        (home / "config.toml").write_text(text)
    return read_settings({"BUNDLERUN_HOME": str(home), **variables})


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    """Nothing needs to be configured for local work."""
    found = settings(tmp_path)
    assert found.store == tmp_path / "store"
    assert found.run.memory_mib == 2048
    assert found.context is None


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    """``[run] aws_batch_queue`` from the file, unless a variable says otherwise."""
    text = '[run]\naws_batch_queue = "file"\nvcpus = 2\n[images]\nregistry = "ecr"\n'
    assert settings(tmp_path, text).run.aws_batch_queue == "file"
    found = settings(tmp_path, BUNDLERUN_AWS_BATCH_QUEUE="env", BUNDLERUN_SESSION_SECONDS="900")
    assert found.run.aws_batch_queue == "env"
    assert found.run.session_seconds == 900
    assert found.run.vcpus == 2
    assert found.images.registry == "ecr"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run", "config.toml"),
        ("[runs]\n", "runs"),
        ("[run]\nqueue = 'x'\n", "queue"),
        ("[run]\nmemory_mib = 'much'\n", "memory_mib"),
        ("[run]\nvcpus = true\n", "vcpus"),
        ("run = 3\n", "run"),
        ("[store]\ncheckout = 'hard'\n", "copy, link"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    """A misspelt key is an error, not silence."""
    with pytest.raises(SettingsError, match=words) as raised:
        settings(tmp_path, text)
    assert raised.value.exit_code == 3


def test_links_to_the_store_are_asked_for(tmp_path: Path) -> None:
    """``[store] checkout``: in the file or by a variable, and a misspelt one is an error."""
    assert settings(tmp_path).storage.checkout == "copy"
    assert settings(tmp_path, '[store]\ncheckout = "link"\n').storage.checkout == "link"
    assert settings(tmp_path, BUNDLERUN_CHECKOUT="copy").storage.checkout == "copy"
    with pytest.raises(SettingsError, match="BUNDLERUN_CHECKOUT"):
        settings(tmp_path, BUNDLERUN_CHECKOUT="links")


def test_a_number_in_a_variable_must_be_one(tmp_path: Path) -> None:
    """The variable is named."""
    with pytest.raises(SettingsError, match="BUNDLERUN_SESSION_SECONDS"):
        settings(tmp_path, BUNDLERUN_SESSION_SECONDS="an hour")


def test_without_a_home_nobody_else_can_configure_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME and no entry in the password database: never a folder that others can write."""
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert read_settings({}).home == Path("/nonexistent/.bundlerun")
