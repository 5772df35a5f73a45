"""Which files go into an image."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from bundlerun.errors import BadModule
from bundlerun.images.selection import MAX_DATA_BYTES, IgnoreRules, Selection, select
from tests.images.projects import write

SECRETS = [
    ".env",
    ".env.local",
    "key.pem",
    "id_rsa",
    "id_ed25519.pub",
    ".aws/credentials",
    ".netrc",
]
LITTER = [".git/HEAD", "__pycache__/a.cpython-311.pyc", "old.pyc", "node_modules/x/index.js"]


def chosen(root: Path, *modules: str) -> Selection:
    """The selection for these modules' files."""
    return select(root, [root / module for module in modules])


def names(selection: Selection) -> list[str]:
    """The paths that go in."""
    return [path for path, _ in selection.files]


def test_only_the_packages_that_are_reached_go_in(tmp_path: Path) -> None:
    """Whole, with their small data; what lies beside them stays."""
    write(
        tmp_path,
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "",
            "pkg/unreached.py": "",
            "pkg/sub/query.sql": "select 1",
            "alone.py": "",
            "other/b.py": "",
            "notes.txt": "",
            "data/flights.csv": "",
        },
    )
    selection = chosen(tmp_path, "pkg/a.py", "alone.py")
    inside = ["alone.py", "pkg/__init__.py", "pkg/a.py", "pkg/sub/query.sql", "pkg/unreached.py"]
    assert names(selection) == inside
    assert selection.left_out == ()


def test_secrets_and_litter_never_go_in(tmp_path: Path) -> None:
    """Wherever they stand in the package, whatever a virtual environment is called."""
    litter = {f"pkg/{where}{name}": "x" for name in SECRETS + LITTER for where in ("", "deep/er/")}
    env = {"pkg/my env/pyvenv.cfg": "", "pkg/my env/lib/six.py": ""}
    write(tmp_path, {"pkg/a.py": "", "pkg/deep/er/b.py": "", **litter, **env})
    assert names(chosen(tmp_path, "pkg/a.py")) == ["pkg/a.py", "pkg/deep/er/b.py"]


def test_large_data_is_left_out_and_said(tmp_path: Path) -> None:
    """One byte over the limit; Python files have none."""
    write(
        tmp_path,
        {
            "pkg/a.py": b"#" * (MAX_DATA_BYTES + 1),
            "pkg/fits.bin": bytes(MAX_DATA_BYTES),
            "pkg/model.bin": bytes(MAX_DATA_BYTES + 1),
        },
    )
    selection = chosen(tmp_path, "pkg/a.py")
    assert names(selection) == ["pkg/a.py", "pkg/fits.bin"]
    assert [(f.path, f.size) for f in selection.left_out] == [("pkg/model.bin", MAX_DATA_BYTES + 1)]
    assert str(selection.left_out[0]) == "pkg/model.bin (1.0 MiB)"
    write(tmp_path, {".dockerignore": "!pkg/model.bin\n"})
    assert "pkg/model.bin" in names(chosen(tmp_path, "pkg/a.py"))
    write(tmp_path, {".dockerignore": "*\n!pkg\n"})
    assert "pkg/model.bin" not in names(chosen(tmp_path, "pkg/a.py"))


def test_dockerignore_is_respected(tmp_path: Path) -> None:
    """Patterns with **, folders, a line that takes back, comments."""
    write(
        tmp_path,
        {
            ".dockerignore": "# data\n**/*.csv\n!pkg/keep.csv\npkg/tests/\n!pkg/tests/one.py\n",
            "pkg/a.py": "",
            "pkg/x.csv": "",
            "pkg/sub/y.csv": "",
            "pkg/keep.csv": "",
            "pkg/tests/one.py": "",
            "pkg/tests/two.py": "",
        },
    )
    assert names(chosen(tmp_path, "pkg/a.py")) == ["pkg/a.py", "pkg/keep.csv", "pkg/tests/one.py"]


def test_a_needed_module_that_is_ignored_is_an_error(tmp_path: Path) -> None:
    """It says the line that mends it."""
    write(tmp_path, {".dockerignore": "pkg/b.py\n", "pkg/a.py": "", "pkg/b.py": ""})
    with pytest.raises(BadModule, match=r"!pkg/b\.py"):
        chosen(tmp_path, "pkg/a.py", "pkg/b.py")


def test_links_bring_nothing_from_outside(tmp_path: Path) -> None:
    """One that stays inside is followed; a circle is not."""
    write(tmp_path, {"secret.txt": "s", "root/pkg/a.py": "", "root/shared.txt": "t"})
    root = tmp_path / "root"
    (root / "pkg/out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "pkg/gone.txt").symlink_to(root / "nothing")
    (root / "pkg/in.txt").symlink_to(root / "shared.txt")
    (root / "pkg/circle").symlink_to(root / "pkg")
    assert names(chosen(root, "pkg/a.py")) == ["pkg/a.py", "pkg/in.txt"]


def test_a_module_outside_of_the_root_is_refused(tmp_path: Path) -> None:
    """There is no path for it in the image."""
    write(tmp_path, {"root/a.py": "", "b.py": ""})
    with pytest.raises(BadModule, match="not below"):
        select(tmp_path / "root", [tmp_path / "b.py"])


@pytest.mark.parametrize(
    ("patterns", "path", "left_out"),
    [
        (["a"], "a/b/c", True),
        (["**/b"], "a/x/b/c", True),
        (["**/b"], "b", True),
        (["a/*"], "a/b/c", True),
        (["a/*/c"], "a/b/d", False),
        (["A"], "a", False),
        (["*", "!a"], "a/b", False),
        (["a", "!a/b", "a/b/c"], "a/b/c", True),
        (["/a/"], "a/b", True),
        (["?.txt"], "ab.txt", False),
        (["[ab].txt"], "b.txt", True),
        (["**"], "a/b", True),
    ],
)
def test_patterns_mean_what_they_mean_to_docker(
    patterns: list[str], path: str, left_out: bool
) -> None:
    """The last pattern that matches the path or a folder above it decides."""
    assert IgnoreRules(patterns).leaves_out(PurePosixPath(path)) is left_out
