"""Requirements that a caller names: lines, files and lock files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundlerun.errors import UsageError
from bundlerun.images.requirements import Requirements, given_requirements
from tests.images.projects import write

LOCK = """
lock-version = "1.0"
created-by = "pip"

[[packages]]
name = "six"
version = "1.16.0"
[packages.sdist]
name = "six-1.16.0.tar.gz"
hashes = {sha256 = "aa"}
[[packages.wheels]]
name = "six-1.16.0-py2.py3-none-any.whl"
hashes = {sha256 = "bb"}

[[packages]]
name = "colorama"
version = "0.4.6"
marker = "sys_platform == 'win32'"
[[packages.wheels]]
name = "colorama-0.4.6-py2.py3-none-any.whl"
hashes = {sha256 = "cc"}
"""

VCS = """
[[packages]]
name = "fromgit"
[packages.vcs]
type = "git"
url = "https://h.example/x.git"
commit-id = "abc"
subdirectory = "py"
"""


def given(what: list[str] | tuple[str, ...] | str | Path) -> Requirements:
    """What is read of it."""
    return given_requirements(what, {"pandas": ("pandas>=2",)})


def test_lines_are_taken_as_they_are() -> None:
    """In their order, once each, bundlerun's own replaced."""
    found = given(["six>=1", " six>=1 ", "", "bundlerun[pandas]"])
    assert found.lines == ("six>=1", "pandas>=2")


@pytest.mark.parametrize("line", ["-r other.txt", "-c limits.txt", "./a", "-e .", "six=>1"])
def test_a_line_that_no_image_can_have_is_refused(line: str) -> None:
    """A file or path of this machine, and what pip cannot read."""
    with pytest.raises(UsageError):
        given(["six", line])


def test_a_file_is_read_by_its_name(tmp_path: Path) -> None:
    """A list of lines, what a project declares, or a lock file."""
    root = write(
        tmp_path,
        {
            "needs.txt": "six # why\n-r more.txt\n",
            "more.txt": "idna\n",
            "pyproject.toml": '[project]\nname="x"\ndependencies=["rich>=13"]\n',
            "setup.cfg": "[options]\ninstall_requires =\n    toolz\n",
            "pylock.lab.toml": LOCK,
        },
    )
    assert given(str(root / "needs.txt")).lines == ("six", "idna")
    assert given(root / "pyproject.toml").lines == ("rich>=13",)
    assert given(root / "setup.cfg").lines == ("toolz",)
    locked = given(root / "pylock.lab.toml")
    assert locked.lines == ("six==1.16.0", "colorama==0.4.6 ; sys_platform == 'win32'")
    assert locked.locked == (
        "six==1.16.0 --hash=sha256:bb --hash=sha256:aa",
        "colorama==0.4.6 ; sys_platform == 'win32' --hash=sha256:cc",
    )
    assert locked.origin == str(root / "pylock.lab.toml")


def test_a_lock_with_a_repository_has_no_hashes_at_all(tmp_path: Path) -> None:
    """pip takes hashes of all or of none, and a repository is known by its commit."""
    found = given(write(tmp_path, {"pylock.toml": LOCK + VCS}) / "pylock.toml")
    assert found.locked == ()
    assert found.lines[-1] == "fromgit @ git+https://h.example/x.git@abc#subdirectory=py"
    assert found.from_git


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ('[[packages]]\nname="lab"\n[packages.directory]\npath="."\n', "lab is a folder"),
        ('[[packages]]\nname="x"\nversion="1"\nmarker="\'dev\' in dependency_groups"\n', "group"),
        ('[[packages]]\nversion="1"\n', "not a lock file of PEP 751"),
        ("[[packages", "cannot be read"),
    ],
)
def test_a_lock_that_no_image_can_have_is_refused(tmp_path: Path, package: str, words: str) -> None:
    """With the package that is in the way."""
    with pytest.raises(UsageError, match=words):
        given(write(tmp_path, {"pylock.toml": LOCK + package}) / "pylock.toml")


@pytest.mark.parametrize(
    ("name", "command"),
    [("uv.lock", "uv export"), ("poetry.lock", "poetry export"), ("environment.yml", "pip list")],
)
def test_a_lock_file_of_another_form_names_its_export(
    tmp_path: Path, name: str, command: str
) -> None:
    """What pip does not read is not guessed at."""
    with pytest.raises(UsageError, match=command):
        given(write(tmp_path, {name: "[[package]]\n"}) / name)


def test_a_file_that_is_not_there_may_be_meant_as_a_package() -> None:
    """The cure is a list."""
    with pytest.raises(UsageError, match=r"requirements=\['numpy'\]"):
        given("numpy")
