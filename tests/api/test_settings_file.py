"""Settings are written into config.toml without harm to what stands there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bundlerun.api.settings_file import save
from bundlerun.errors import SettingsError
from bundlerun.settings import read_settings

QUEUE = {"backends.AWSBatch": {"queue": "lab"}}

WRITTEN: dict[str, tuple[str, dict[str, dict[str, Any]], str]] = {
    "no file": ("", QUEUE, '[backends.AWSBatch]\nqueue = "lab"\n'),
    "another section": (
        "# mine\n[run]\nvcpus = 2  # two\n",
        QUEUE,
        '# mine\n[run]\nvcpus = 2  # two\n\n[backends.AWSBatch]\nqueue = "lab"\n',
    ),
    "no newline at the end": (
        "[run]\nvcpus = 2",
        QUEUE,
        '[run]\nvcpus = 2\n\n[backends.AWSBatch]\nqueue = "lab"\n',
    ),
    "the value, and its comment": (
        "[backends.AWSBatch]\n  queue = 'a # b'   # ours\nplatform = 'linux/amd64'\n",
        QUEUE,
        "[backends.AWSBatch]\n  queue = \"lab\"   # ours\nplatform = 'linux/amd64'\n",
    ),
    "the section has other keys": (
        "[ backends . 'AWSBatch' ] # jobs\nplatform = 'linux/amd64'\n\n# next\n[run]\nvcpus = 2\n",
        QUEUE,
        "[ backends . 'AWSBatch' ] # jobs\nplatform = 'linux/amd64'\nqueue = \"lab\"\n\n# next\n"
        "[run]\nvcpus = 2\n",
    ),
    "windows": (
        "[run]\r\nvcpus = 2\r\n",
        {"run": {"memory_mib": 4096}},
        "[run]\r\nvcpus = 2\r\nmemory_mib = 4096\r\n",
    ),
    "several": (
        "[run]\nvcpus = 1\n",
        {"run": {"vcpus": 4, "gpus": 1}, "images": {"registry": "ecr"}},
        '[run]\nvcpus = 4\ngpus = 1\n\n[images]\nregistry = "ecr"\n',
    ),
    "quotes": (
        "",
        {"images": {"registry": 'a"b\\c\n'}},
        '[images]\nregistry = "a\\"b\\\\c\\n"\n',
    ),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_all_else_stays_as_it_stood(case: str, tmp_path: Path) -> None:
    """Comments, blank lines, order, quotes and line ends; what was written is read."""
    before, sections, after = WRITTEN[case]
    path = tmp_path / "config.toml"
    if before:
        path.write_bytes(before.encode())
    changes = save(path, sections)
    assert path.read_bytes().decode() == after
    read_settings({"BUNDLERUN_HOME": str(tmp_path)})
    assert {(c.section, c.key): c.value for c in changes} == {
        (section, key): value for section, rows in sections.items() for key, value in rows.items()
    }
    assert save(path, sections) == ()
    assert path.read_bytes().decode() == after


def test_what_stood_there_is_told(tmp_path: Path) -> None:
    """Who had another queue sees which."""
    path = tmp_path / "config.toml"
    path.write_text('[backends.AWSBatch]\nqueue = "old"\n')
    (change,) = save(path, QUEUE)
    assert (change.key, change.value, change.before) == ("queue", "lab", "old")


@pytest.mark.parametrize(
    "text",
    [
        "backends = {AWSBatch = {queue = 'x'}}\n",
        "backends.AWSBatch.queue = 'x'\n",
        "[backends.AWSBatch]\nqueue = '''\nx'''\n",
        "[images]\nregistry = '''\n[backends.AWSBatch]\n'''\n",
    ],
)
def test_what_lines_cannot_change_is_refused(text: str, tmp_path: Path) -> None:
    """The file stays, and the hint has what to write into it."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as raised:
        save(path, QUEUE)
    assert '[backends.AWSBatch] queue = "lab"' in str(raised.value.hint)
    assert path.read_text() == text
    assert os.listdir(tmp_path) == ["config.toml"]


def test_a_file_that_is_not_toml_is_left_alone(tmp_path: Path) -> None:
    """It is named."""
    path = tmp_path / "config.toml"
    path.write_text("[run")
    with pytest.raises(SettingsError, match=r"config.toml is not TOML"):
        save(path, QUEUE)
    assert path.read_text() == "[run"


def test_a_link_stays_a_link_and_a_mode_stays(tmp_path: Path) -> None:
    """Settings are kept among others' in a repository of dotfiles."""
    real = tmp_path / "dotfiles.toml"
    real.write_text("[run]\n")
    real.chmod(0o600)
    link = tmp_path / "home" / "config.toml"
    link.parent.mkdir()
    link.symlink_to(real)
    save(link, QUEUE)
    assert link.is_symlink()
    assert "lab" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o600


def test_a_home_that_is_not_there_is_made(tmp_path: Path) -> None:
    """The first settings of a machine."""
    path = tmp_path / "a" / "b" / "config.toml"
    save(path, QUEUE)
    assert path.read_text() == '[backends.AWSBatch]\nqueue = "lab"\n'


@pytest.mark.parametrize("case", ["read-only", "full", "loop"])
def test_a_file_that_cannot_be_written_is_named_with_what_to_write(
    case: str, tmp_path: Path
) -> None:
    """Its owner forbade it, or the folder takes no file; nothing is changed."""
    path = tmp_path / "config.toml"
    if case == "read-only":
        path.write_text("[run]\n")
        path.chmod(0o444)
    elif case == "full":
        # No file can be made there, by anybody.
        path = Path("/proc/config.toml")
    else:
        path.symlink_to(path)
    with pytest.raises(SettingsError, match=r"config.toml cannot be") as raised:
        save(path, QUEUE)
    assert raised.value.hint
    if case == "read-only":
        assert '[backends.AWSBatch] queue = "lab"' in str(raised.value.hint)
        assert path.read_text() == "[run]\n"
