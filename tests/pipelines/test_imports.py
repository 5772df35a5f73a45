"""Which modules a module's source consists of, and what git says of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundlerun.errors import BadModule
from bundlerun.pipelines import imports
from bundlerun.pipelines.git import git_version
from bundlerun.pipelines.imports import modules_of
from bundlerun.pipelines.source import source_digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project in which every way of importing leads to one module."""
    files = {
        "pkg/__init__.py": "from pkg import base",
        "pkg/base.py": "",
        "pkg/main.py": (
            "import os, numpy.linalg\n"
            "import plain, deep.a.b as ab\n"
            "from . import sibling\n"
            "from .sub import leaf, attribute\n"
            "from ..nowhere import x\n"
            "from space import inside\n"
            "from stars import *\n"
            "import importlib\n"
            "if os.environ.get('X'):\n    import conditional\n"
            "def later():\n    import lazy\n"
            "later_still = importlib.import_module('named')\n"
        ),
        "pkg/sibling.py": "from .sub.cousin import y",
        "pkg/sub/__init__.py": "attribute = 1",
        "pkg/sub/leaf.py": "",
        "pkg/sub/cousin.py": "import pkg.main",
        "pkg/unused.py": "syntax error here",
        "plain.py": "import transitive",
        "transitive.py": "",
        "deep/__init__.py": "",
        "deep/a/__init__.py": "",
        "deep/a/b.py": "",
        "space/inside.py": "",
        "space/other.py": "",
        "stars/__init__.py": "__all__ = ['one']",
        "stars/one.py": "",
        "stars/two.py": "",
        "conditional.py": "",
        "lazy.py": "",
        "named.py": "",
        "bundlerun/__init__.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def names(root: Path, module: str) -> set[str]:
    """The project modules, relative to the root."""
    return {path.relative_to(root).as_posix() for path in modules_of(root, module).values()}


def test_every_way_of_importing_is_followed_transitively(tree: Path) -> None:
    """Absolute, relative, from-package, star, conditional, lazy, named, and packages' inits."""
    assert names(tree, "pkg.main") == {
        "pkg/__init__.py",
        "pkg/base.py",
        "pkg/main.py",
        "pkg/sibling.py",
        "pkg/sub/__init__.py",
        "pkg/sub/leaf.py",
        "pkg/sub/cousin.py",
        "plain.py",
        "transitive.py",
        "deep/__init__.py",
        "deep/a/__init__.py",
        "deep/a/b.py",
        "space/inside.py",
        "stars/__init__.py",
        "stars/one.py",
        "conditional.py",
        "lazy.py",
        "named.py",
    }


def test_a_module_that_imports_nothing_of_the_project_stands_alone(tree: Path) -> None:
    """Installed packages and the standard library are the environment's business."""
    assert names(tree, "transitive") == {"transitive.py"}


def test_bundlerun_itself_is_never_project_source(tree: Path) -> None:
    """A project in a checkout of bundlerun does not change with bundlerun."""
    (tree / "user.py").write_text("import bundlerun")
    assert names(tree, "user") == {"user.py"}


def test_an_installed_package_is_limited_to_itself(tree: Path) -> None:
    """Beside an installed module stand all others that were ever installed."""
    found = modules_of(tree, "pkg.main", within="pkg")
    assert {path.parts[len(tree.parts)] for path in found.values()} == {"pkg"}


def test_an_edit_of_any_imported_module_changes_the_digest(tree: Path) -> None:
    """And an edit of one that is not imported does not."""
    before = source_digest(tree, "pkg.main")
    (tree / "pkg/unused.py").write_text("still = 'unused'")
    assert source_digest(tree, "pkg.main") == before
    (tree / "transitive.py").write_text("x = 1")
    edited = source_digest(tree, "pkg.main")
    assert edited != before
    (tree / "transitive.py").write_text("x = 2")
    assert source_digest(tree, "pkg.main") not in (edited, before)


def test_an_equal_tree_elsewhere_has_the_same_digest(tree: Path) -> None:
    """A project in a container is the project on the client."""
    other = tree.parent / "elsewhere"
    shutil.copytree(tree, other)
    assert source_digest(other, "pkg.main") == source_digest(tree, "pkg.main")


def test_a_missing_module_names_the_path_that_was_looked_for(tree: Path) -> None:
    """BadModule, with the file and what to do."""
    with pytest.raises(BadModule, match=r"pkg/absent\.py does not exist.*--pipe-root"):
        modules_of(tree, "pkg.absent")


@pytest.mark.parametrize("module", ["..pkg", "pkg/main", "", "a b"])
def test_what_is_no_module_name_never_leaves_the_root(tree: Path, module: str) -> None:
    """Dots, slashes and spaces are no way out."""
    with pytest.raises(BadModule):
        modules_of(tree, module)


def test_a_syntax_error_is_named_with_its_line(tree: Path) -> None:
    """Also in a module that is only imported."""
    (tree / "plain.py").write_text("x = 1\ndef broken(:\n")
    with pytest.raises(BadModule, match=r"plain\.py, line 2"):
        modules_of(tree, "pkg.main")


def test_finding_the_source_imports_neither_luigi_nor_the_module(tree: Path) -> None:
    """The client may lack what the pipeline needs."""
    (tree / "plain.py").write_text("raise SystemExit('imported')")
    code = (
        "import sys; from pathlib import Path\n"
        "from bundlerun.pipelines import imports, source, reuse_key, schema, environment, targets\n"
        f"source.source_digest(Path({str(tree)!r}), 'pkg.main')\n"
        "print([m for m in ('luigi', 'pkg', 'plain') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unchanged_file_is_parsed_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has rested for a second is known by its stat."""
    old = time.time() - 60
    for path in tree.rglob("*.py"):
        os.utime(path, (old, old))
    first = source_digest(tree, "pkg.main")
    monkeypatch.setattr(imports, "_tree", None)
    assert source_digest(tree, "pkg.main") == first


def git(root: Path, *arguments: str) -> str:
    """A git command in the folder, as somebody."""
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    command = ["git", "-C", str(root), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_git_says_the_commit_and_whether_the_used_files_differ(tree: Path) -> None:
    """Edits of other files do not make the code dirty; an untracked or ignored one does."""
    assert git_version(tree) is None
    git(tree, "init", "-q")
    assert git_version(tree) is None
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "first")
    head = git(tree, "rev-parse", "HEAD")
    used = [tree / "plain.py", tree / "pkg/main.py"]
    assert git_version(tree, used) == (head, False)
    (tree / "lazy.py").write_text("edited = True")
    assert git_version(tree, used) == (head, False)
    assert git_version(tree) == (head, True)
    (tree / "plain.py").write_text("edited = True")
    assert git_version(tree, used) == (head, True)
    git(tree, "checkout", "-q", "plain.py")
    (tree / ".gitignore").write_text("secret.py\n")
    (tree / "secret.py").write_text("")
    assert git_version(tree, [*used, tree / "secret.py"]) == (head, True)
    (tree / "new.py").write_text("")
    assert git_version(tree, [tree / "new.py"]) == (head, True)


def test_without_git_there_is_no_version(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No error: the source digest remains."""
    monkeypatch.setenv("PATH", str(tree))
    assert git_version(tree) is None


def test_the_names_of_a_module_are_read_without_importing_it(tmp_path: Path) -> None:
    """Classes, functions, imports and assignments, also under a condition; unknown after a star."""
    (tmp_path / "names.py").write_text(
        "import os.path\nfrom a import B as C\nif True:\n    class D: pass\nE = 1\n1 / 0\n"
    )
    assert imports.top_level_names(tmp_path, "names") == {"os", "C", "D", "E"}
    (tmp_path / "star.py").write_text("from a import *\n")
    assert imports.top_level_names(tmp_path, "star") is None
