"""What a pipeline needs, read from the files that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundlerun.errors import UsageError
from bundlerun.images.requirements import Requirements, find_requirements, find_system_packages
from tests.images.projects import write

EXTRAS = {"pandas": ("pandas>=2",)}


def found(root: Path, config: Path | None = None) -> Requirements:
    """The requirements below ``root``."""
    return find_requirements(root, config, EXTRAS)


def test_a_requirements_file_is_read_with_what_it_includes(tmp_path: Path) -> None:
    """Comments go, continued lines are joined, options stay, constraints are kept apart."""
    text = "# top\nsix>=1 # why\n-r more/base.txt\n--pre\n-c limits.txt\ntool\\\n  z==1\n\n"
    write(
        tmp_path,
        {
            "requirements.txt": text.replace("tool\\\n  z", "toolz \\\n  "),
            "more/base.txt": "--requirement=deeper.txt\nrich\n",
            "more/deeper.txt": "idna\n",
            "limits.txt": "idna<4\n",
        },
    )
    reqs = found(tmp_path)
    assert reqs.lines == ("six>=1", "idna", "rich", "--pre", "toolz    ==1")
    assert reqs.constraints == ("idna<4",)
    assert reqs.locked == ()
    assert reqs.origin == str(tmp_path / "requirements.txt")


def test_a_locked_file_keeps_its_hashes_beside_the_plain_lines(tmp_path: Path) -> None:
    """pip wants hashes of all or none: both forms are needed."""
    first = "six==1.16.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    text = f"{first}idna==3.7 --hash=sha256:cc\n"
    reqs = found(write(tmp_path, {"requirements.txt": text}))
    assert reqs.lines == ("six==1.16.0", "idna==3.7")
    assert [line.count("--hash") for line in reqs.locked] == [2, 1]


def test_bundlerun_itself_is_taken_from_the_installed_one(tmp_path: Path) -> None:
    """Its line goes, and what its extras bring comes; a namesake stays."""
    text = "bundlerun[pandas]>=0.1\nBundlerun\nbundlerun-tools\n"
    assert found(write(tmp_path, {"requirements.txt": text})).lines == (
        "pandas>=2",
        "bundlerun-tools",
    )


def test_the_configuration_folder_wins_over_the_project(tmp_path: Path) -> None:
    """Then requirements.txt, pyproject.toml, setup.cfg, setup.py."""
    config = write(tmp_path / "config", {"requirements.txt": "a1\n"})
    root = write(
        tmp_path / "root",
        {
            "requirements.txt": "b1\n",
            "pyproject.toml": '[project]\nname="x"\ndependencies=["c1>=2", "c2; os_name<\'z\'"]\n',
            "setup.cfg": "[options]\ninstall_requires =\n    d1\n    # no\n    d2 >= 3\n",
            "setup.py": "import setuptools\nN = ['e1']\nsetuptools.setup(install_requires=N)\n",
        },
    )
    assert found(root, config).lines == ("a1",)
    for name, lines in (
        ("requirements.txt", ("b1",)),
        ("pyproject.toml", ("c1>=2", "c2; os_name<'z'")),
        ("setup.cfg", ("d1", "d2 >= 3")),
        ("setup.py", ("e1",)),
    ):
        assert found(root).lines == lines
        (root / name).unlink()
    assert found(root) == Requirements()


def test_a_pyproject_of_tools_alone_does_not_hide_setup_py(tmp_path: Path) -> None:
    """Nor does one that says that the dependencies are dynamic."""
    setup = "from setuptools import setup\nsetup(name='x', install_requires=['e1', 'e2'])\n"
    root = write(tmp_path, {"pyproject.toml": "[tool.ruff]\nline-length = 9\n", "setup.py": setup})
    assert found(root).lines == ("e1", "e2")
    write(root, {"pyproject.toml": '[project]\nname = "x"\ndynamic = ["dependencies"]\n'})
    assert found(root).lines == ("e1", "e2")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[project]\nname = "x"\ndynamic = ["dependencies"]\n'),
        ("pyproject.toml", '[tool.poetry.dependencies]\npython = "*"\n'),
        ("setup.cfg", "[options]\ninstall_requires = file: other.txt\n"),
        (
            "setup.py",
            "from setuptools import setup\nsetup(install_requires=open('r').readlines())\n",
        ),
        ("setup.py", "from setuptools import setup\nsetup(**read())\n"),
    ],
)
def test_dependencies_that_only_running_tells_are_refused(
    tmp_path: Path, name: str, text: str
) -> None:
    """The message says where to write them instead."""
    with pytest.raises(UsageError, match=r"write the requirements to .*requirements\.txt"):
        found(write(tmp_path, {name: text}))


@pytest.mark.parametrize(
    "line",
    ["./wheels/a.whl", "../lib", "/opt/lib", "file:///opt/lib", "a @ file:///opt/a", "a.whl",
     "libs/a", "a@file:///x", "--find-links ./wheels", "-f wheels", "-e .", "--editable=../lib"],
)  # fmt: skip
def test_paths_of_this_machine_are_refused(tmp_path: Path, line: str) -> None:
    """The image does not have them."""
    with pytest.raises(UsageError, match=r"path of this machine|editable"):
        found(write(tmp_path, {"requirements.txt": f"six\n{line}\n"}))


@pytest.mark.parametrize(
    "line",
    ["a @ https://host.example/a-1.whl", "git+https://host.example/x/y@v1",
     "a[b]>=1 ; os_name == '/'", "git+ssh://git@host.example/x/y", "--extra-index-url https://host.example/simple"],
)  # fmt: skip
def test_addresses_are_let_through(tmp_path: Path, line: str) -> None:
    """The image can reach them."""
    assert found(write(tmp_path, {"requirements.txt": line})).lines == (line,)


def test_credentials_in_a_line_are_refused_and_not_repeated(tmp_path: Path) -> None:
    """They would be in the image for all who have it."""
    line = "--index-url https://me:hunter2@host.example/simple\n"
    with pytest.raises(UsageError, match="PIP_EXTRA_INDEX_URL") as caught:
        found(write(tmp_path, {"requirements.txt": line}))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ["six=>1", "six==", "six 1.0", "six>=1.0.*", "six; python_version = '3'", "six[", "!"]
)
def test_what_pip_cannot_read_is_refused_before_an_image_is_built(
    tmp_path: Path, line: str
) -> None:
    """With the file and the line; also where it stands in a file of constraints."""
    with pytest.raises(UsageError, match="is not a requirement that pip reads") as caught:
        found(write(tmp_path, {"requirements.txt": f"rich\n{line}\n"}))
    assert str(tmp_path / "requirements.txt") in str(caught.value)
    with pytest.raises(UsageError, match=r"limits\.txt.* is not a requirement"):
        found(write(tmp_path, {"requirements.txt": "-c limits.txt\n", "limits.txt": line}))


@pytest.mark.parametrize(
    "line",
    ["Bundlerun [ pandas ] >= 0.1", "bundlerun[other,pandas]==1 --hash=sha256:aa",
     "bundlerun[pandas] @ https://host.example/b.whl", "BUNDLERUN[pandas]; python_version > '3'"],
)  # fmt: skip
def test_bundlerun_is_known_however_its_line_is_written(tmp_path: Path, line: str) -> None:
    """With spaces, hashes, an address or a marker."""
    assert found(write(tmp_path, {"requirements.txt": line})).lines == ("pandas>=2",)


@pytest.mark.parametrize("text", ["-r requirements.txt\n", "-r gone.txt\n"])
def test_an_include_that_leads_nowhere_is_refused(tmp_path: Path, text: str) -> None:
    """A missing file, or the file itself again."""
    with pytest.raises(UsageError, match="includes"):
        found(write(tmp_path, {"requirements.txt": text}))


def test_system_packages_are_names_one_a_line(tmp_path: Path) -> None:
    """Sorted and once each; versions and architectures may be said."""
    write(
        tmp_path,
        {"deb.txt": "# tools\nlibgomp1\ngit=1:2.39-1  # pinned\n\nzlib1g:amd64\ngit=1:2.39-1\n"},
    )
    assert find_system_packages(tmp_path) == ("git=1:2.39-1", "libgomp1", "zlib1g:amd64")
    assert find_system_packages(None) == ()


@pytest.mark.parametrize("line", ["a; rm -rf /", "$(id)", "--force-yes", "two names", "Upper"])
def test_what_is_no_package_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    """It would be a word of a shell command."""
    with pytest.raises(UsageError, match="line 2"):
        find_system_packages(write(tmp_path, {"deb.txt": f"git\n{line}\n"}))
