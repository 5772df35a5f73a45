"""The documents tell the truth: the README's tour is run word for word, names and links exist."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import bundlerun
from bundlerun import errors
from bundlerun.cli.main import INTERRUPTED, VERBS, cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path for where in ("*.md", "docs/**/*.md", "benchmarks/*.md") for path in ROOT.glob(where)
)

OF_A_STORE = (
    *("objects/", "objects/tmp/", "objects/partial/", "files/", "packs/", "locks/", "staging/"),
    *("quarantine/", "sandbox/", "meta/", "r/", "c/"),
)

_BLOCK = re.compile(
    r"^(?:`(?P<path>[^`]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block; ``path`` where the line before it names the file that it is."""

    kind: str
    text: str
    path: str | None

    def argv(self) -> list[str]:
        """The command that runs it: each line of a console block, a script as a whole."""
        if self.kind == "python":
            return [sys.executable, "-c", self.text]
        lines = self.text.splitlines()
        if self.kind == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]


def blocks(section: str) -> list[Block]:
    """The blocks of the README's chapter ``section``, in order."""
    chapter = README.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    assert chapter, f"README has no chapter {section!r}"
    found = _BLOCK.finditer(chapter)
    return [Block(block["kind"], block["text"], block["path"]) for block in found]


@pytest.fixture
def tour(tmp_path: Path, base_image: str, isolated_environment: None) -> Iterator[Path]:
    """The folder in which the tour is taken, with the sandbox ended at its end."""
    folder = tmp_path / "tour"
    folder.mkdir()
    os.environ["BUNDLERUN_BASE_IMAGE"] = base_image
    yield folder
    run(["bundlerun", "sandbox", "down"], folder)
    del os.environ["BUNDLERUN_BASE_IMAGE"]


def run(argv: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run as in a shell in which the tested bundlerun is installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        argv,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tour_works_word_for_word(tour: Path) -> None:
    """Files are written, commands are run in order, and each ends well; Batch included."""
    taken: dict[str, str] = {}
    for block in blocks("A tour"):
        if block.path is not None:
            target = tour / block.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
            continue
        done = run(block.argv(), tour)
        assert done.returncode == 0, f"{block.text}\n--- out\n{done.stdout}\n--- err\n{done.stderr}"
        taken[block.text] = done.stdout + done.stderr
    assert len(taken) >= 6
    said = "\n".join(taken.values())
    assert "equal work was found" in said
    assert "[('fri', 12), ('wed', 9)]" in said
    assert "AWSBatch" in said


def test_the_tours_pipeline_is_kept_short() -> None:
    """The tour has its two files, its commands and its Python."""
    kinds = [(block.kind, block.path is not None) for block in blocks("A tour")]
    assert kinds.count(("console", False)) >= 4
    assert ("python", True) in kinds
    assert ("python", False) in kinds
    assert ("sh", False) in kinds


def test_the_readme_opens_with_a_capture() -> None:
    """The first thing to be seen is the tool at work."""
    capture = README.partition("<!-- capture -->")[2].partition("<!-- /capture -->")[0]
    assert "bundlerun run" in capture
    assert "differs from delays@" in capture, "what a terminal shows is both streams"
    assert README.index("<!-- capture -->") < README.index("## Two commands")
    assert not re.search(r"/(?:root|home|work|tmp)/", README.replace("file:///tmp", "")), "a path"


def test_every_verb_stands_in_the_readme() -> None:
    """A command that nobody can read of is not there."""
    table = README.partition("\n## Commands\n")[2].partition("\n## ")[0]
    for verb, line in VERBS.items():
        if line:
            assert re.search(rf"`{verb}\b", table), f"{verb} is not in the table of commands"


def errors_of_codes() -> dict[int, set[str]]:
    """The names of the errors by their exit code, and the two codes that no error has."""
    found: dict[int, set[str]] = {0: set(), INTERRUPTED: set()}
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.BundlerunError):
            found.setdefault(kind.exit_code, set()).add(name)
    return found


def rows(text: str, columns: int) -> list[list[str]]:
    """The cells of the rows of every table of a page that has so many columns, without heads."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = [at - 1 for at, row in enumerate(cells) if set("".join(row)) <= {"-"}]
    ruled = {line for at in heads for line in (at, at + 1)}
    return [row for at, row in enumerate(cells) if at not in ruled and len(row) == columns]


@pytest.mark.parametrize("text", [README, cli.help or ""], ids=["README.md", "bundlerun -h"])
def test_the_short_lists_of_exit_codes_are_those_of_the_errors(text: str) -> None:
    """Each code that an error has, and no other."""
    listed = text.partition("Exit codes: ")[2].partition("\n\n")[0]
    assert {int(code) for code in re.findall(r"\b\d+\b", listed)} == set(errors_of_codes())


def test_the_page_of_exit_codes_has_every_error_at_its_code() -> None:
    """docs/exit-codes.md: a row for each code, with all the errors that have it."""
    table = rows((ROOT / "docs/exit-codes.md").read_text(encoding="utf-8"), 3)
    found = {int(code): set(re.findall(r"`(\w+)`", names)) for code, names, _ in table}
    assert found == errors_of_codes()


def test_the_errors_own_tree_has_every_error_at_its_code() -> None:
    """The drawing at the head of bundlerun/errors.py names each error below or at its code."""
    drawing = (errors.__doc__ or "").partition("::")[2].partition("Besides them")[0]
    found: dict[int, set[str]] = {0: set(), INTERRUPTED: set()}
    code = 0
    for line in drawing.splitlines():
        told = re.fullmatch(r"\W*(\w+) +(\d+)\b.*", line)
        code = int(told[2]) if told else code
        names = {name for name in re.findall(r"\w+", line) if hasattr(errors, name)}
        found.setdefault(code, set()).update(names)
    assert found == errors_of_codes()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file of the repository."""
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    for target in targets:
        if "://" not in target and not target.startswith("mailto:"):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("name", [name for name in bundlerun.__all__ if name != "errors"])
def test_every_public_name_is_documented(name: str) -> None:
    """What ``import bundlerun as br`` gives says what it is for."""
    found = getattr(bundlerun, name)
    assert (found.__doc__ or "").strip(), name
    if isinstance(found, type):
        # A dataclass without one of its own gets its signature.
        assert not found.__doc__.startswith(f"{name}(")


def test_the_page_of_formats_names_every_file_of_a_store(tmp_path: Path) -> None:
    """What stands in a store's folder after an add, a reading and a clean-up."""
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    (tmp_path / "large").write_bytes(b"x" * 300_000)
    with bundlerun.open(store=tmp_path / "store") as workspace:
        workspace.add("a", [bundlerun.File(tmp_path / "large"), "y"])
        assert workspace.get("a")[0].path.exists()
        workspace.gc(delete=True)
        there = {path.name + "/" * path.is_dir() for path in (tmp_path / "store").iterdir()}
    assert {"objects/", "files/", "store.sqlite"} <= there
    assert {name for name in there if f"`{name}`" not in page} == set()


def test_the_page_of_formats_has_every_key_of_a_remote(tmp_path: Path) -> None:
    """What a binding and a push write to a remote's folder."""
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    url = f"file://{tmp_path}/remote"
    with bundlerun.open(store=tmp_path / "store", remote=url, context="c") as workspace:
        workspace.add("a", 1, commit=True)
        workspace.push("a")
    keys = {str(path.relative_to(tmp_path / "remote")) for path in (tmp_path / "remote").rglob("*")}
    forms = {re.sub(r"^(meta/uuid-|[a-z]+/).*", r"\1", f"{key}/") for key in keys}
    meta = {key for key in keys if key.startswith("meta/") and "uuid-" not in key}
    assert {"meta/", "v/", "b/"} <= forms
    assert {form for form in forms if f"\n{form}" not in page and f"`{form}`" not in page} == set()
    assert {key for key in meta if f"\n{key} " not in page} == set()


def test_the_glossary_is_short() -> None:
    """At most fifteen words of our own: for all else the field has one."""
    page = (ROOT / "docs/concepts.md").read_text(encoding="utf-8")
    words = rows(page, 2)
    assert 5 < len(words) <= 15
    assert "docs/concepts.md#glossary-of-our-own-words" in (ROOT / "CONTRIBUTING.md").read_text()


def test_the_changelog_has_a_place_for_what_comes() -> None:
    """Changes are written down before they are released."""
    assert re.search(r"^## \[?Unreleased", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_the_architecture_names_every_room() -> None:
    """A folder that the map does not show is not there."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = ROOT / "bundlerun"
    rooms = [path.parent.name for path in package.glob("*/__init__.py")]
    modules = [path.stem for path in package.glob("*.py") if not path.stem.startswith("__")]
    assert len(rooms) >= 9
    for room in rooms:
        assert f"`{room}/`" in text, room
    for module in modules:
        assert f"`{module}`" in text, module


@pytest.mark.parametrize(
    "document",
    [page for page in DOCUMENTS if page.name not in ("README.md", "CHANGELOG.md")],
    ids=lambda path: path.name,
)
def test_files_and_folders_that_a_page_names_are_there(document: Path) -> None:
    """`runs/plan.py`, `store/gc/` and the like; the tour of the README makes its own."""
    text = document.read_text(encoding="utf-8")
    for path in set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text)):
        found = [where / path for where in (ROOT, ROOT / "bundlerun") if (where / path).exists()]
        # What a store and a remote have is no file of the repository.
        assert found or path in OF_A_STORE, f"{document.name} names {path}"


def test_modules_that_the_code_names_are_there() -> None:
    """``bundles.value.pick`` in a docstring is a name of the module ``bundlerun.bundles.value``."""
    package = ROOT / "bundlerun"
    rooms = "|".join(path.parent.name for path in package.glob("*/__init__.py"))
    named = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(rf"``((?:{rooms})(?:\.\w+)+)``", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 3
    for name in named:
        assert pkgutil.resolve_name(f"bundlerun.{name}"), name


def test_the_variables_of_the_readme_are_settings() -> None:
    """A variable that is named is one that is read or exported."""
    sources = [*(ROOT / "bundlerun").rglob("*.py"), *(ROOT / ".ci").iterdir()]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    named = set(re.findall(r"\bBUNDLERUN_[A-Z_]+\b", README))
    assert named
    assert {name for name in named if name not in code} == set()
