"""Imports flow one way: the rooms' order and the sole importers, as ARCHITECTURE.md states them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bundlerun"

# A room imports only rooms of earlier steps; rooms on one step never import each other.
# The errors come before their neighbours: every room raises them.
STEPS = (
    ("errors", "formatting"),
    ("settings", "registry", "progress", "html", "child_processes"),
    ("connections", "bundles", "docker_engine"),
    ("store", "aws"),
    ("remotes", "images", "backends", "sandbox"),
    ("pipelines", "futures", "provision"),
    ("runs",),
    ("api",),
    ("cli",),
)
ORDER_LINE = (
    "errors settings registry <- connections bundles docker_engine <- store aws"
    " <- remotes images backends sandbox <- pipelines futures provision <- runs <- api <- cli"
)

# One large idea of a room in a folder: it may import its room, and the room's own modules, and its
# other sub-rooms, do not import it.
SUB_ROOMS = (
    "bundlerun.bundles.value",
    "bundlerun.store.fsck",
    "bundlerun.store.gc",
    "bundlerun.remotes.fsck",
    "bundlerun.remotes.gc",
    "bundlerun.runs.calls",
)

# Who alone may import a package: a room, or a module of one.
SOLE_IMPORTERS = {
    "boto3": ("bundlerun.aws",),
    "botocore": ("bundlerun.aws",),
    "docker": (
        "bundlerun.docker_engine",
        "bundlerun.images",
        "bundlerun.backends.local_docker",
        "bundlerun.backends.local_docker_containers",
        "bundlerun.backends.local_docker_options",
    ),
    "luigi": ("bundlerun.pipelines",),
    "cloudpickle": ("bundlerun.futures",),
    "pyarrow": ("bundlerun.bundles.value.tables",),
    "click": ("bundlerun.cli",),
    # A backend is found by its name, so that one from outside is one like any other.
    "bundlerun.backends.local_docker": ("bundlerun.backends.local_docker",),
    "bundlerun.backends.local_docker_containers": ("bundlerun.backends.local_docker",),
    "bundlerun.backends.local_docker_options": (
        "bundlerun.backends.local_docker",
        "bundlerun.backends.local_docker_containers",
        "bundlerun.backends.local_docker_state",
    ),
    "bundlerun.backends.local_docker_state": (
        "bundlerun.backends.local_docker",
        "bundlerun.backends.local_docker_containers",
    ),
    "bundlerun.backends.aws_batch": ("bundlerun.backends.aws_batch",),
    "bundlerun.backends.aws_batch_request": ("bundlerun.backends.aws_batch",),
    "bundlerun.backends.aws_batch_state": ("bundlerun.backends.aws_batch",),
    "rich": ("bundlerun.cli",),
    # Its table takes a millisecond and more a row: nothing that lists draws with it. The bars use
    # its columns.
    "rich.table": ("bundlerun.cli.bars",),
}

SLOW = (
    "boto3",
    "botocore",
    "cloudpickle",
    "luigi",
    "docker",
    "pyarrow",
    "pandas",
    "numpy",
    "click",
    "rich",
)


def module_name(path: Path) -> str:
    """`bundlerun/aws/s3.py` is bundlerun.aws.s3; an `__init__.py` is its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_below(name: str, tree: str) -> bool:
    """True when `name` is `tree` or lies in it."""
    return name == tree or name.startswith(f"{tree}.")


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A name that is imported from a package may be a module of it.
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def room_of(name: str) -> str | None:
    """The room of a module's full name; None outside the package and for its door."""
    parts = name.split(".")
    if parts[0] != "bundlerun" or len(parts) == 1:
        return None
    return parts[1] if any(parts[1] in rooms for rooms in STEPS) else None


def step_of(room: str) -> int:
    """On which step a room stands."""
    return next(number for number, rooms in enumerate(STEPS) if room in rooms)


def entered_from_its_room(module: str, target: str) -> str | None:
    """The sub-room that `target` lies in and `module`, of the same room, stands outside of."""
    for sub_room in SUB_ROOMS:
        room = sub_room.rpartition(".")[0]
        if is_below(target, sub_room) and is_below(module, room) and not is_below(module, sub_room):
            return sub_room
    return None


def offences(module: str, source: str) -> list[str]:
    """Every import of `source` that the rules forbid, as sentences."""
    found = []
    for line, target in imports_of(source):
        where = f"{module}:{line}"
        if target.startswith("."):
            found.append(f"{where} imports relatively: {target}")
            continue
        for package, allowed in SOLE_IMPORTERS.items():
            if is_below(target, package) and not any(is_below(module, room) for room in allowed):
                found.append(f"{where} imports {package}, which only {', '.join(allowed)} may")
        here, there = room_of(module), room_of(target)
        if here and there and here != there and step_of(there) >= step_of(here):
            found.append(f"{where} imports {target}: {there} is no earlier step than {here}")
        if sub_room := entered_from_its_room(module, target):
            found.append(
                f"{where} imports {target}: {sub_room} may import its room, not the reverse"
            )
        # The door re-exports the api, so only what may import the api may come through it; the
        # version alone is nobody's verb.
        is_door = is_below(target, "bundlerun") and there is None
        is_door = is_door and target != "bundlerun.__version__"
        if here and is_door and step_of(here) <= step_of("api"):
            found.append(f"{where} imports the package's door; name the room")
    return found


def test_every_module_keeps_the_import_rules() -> None:
    """No module imports a room of its own or a later step, or a package that is another's."""
    modules = sorted(PACKAGE.rglob("*.py"))
    assert modules
    found = [
        offence
        for path in modules
        for offence in offences(module_name(path), path.read_text("utf-8"))
    ]
    assert found == []


def circles(imported: Mapping[str, set[str]]) -> list[str]:
    """What imports what it is imported by, over however many others: one way each, as a sentence.

    ``imported`` are the modules that each module imports.
    """
    found: list[str] = []
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        if module in way:
            found.append(" -> ".join([*way[way.index(module) :], module]))
        elif module not in done:
            for target in sorted(imported[module]):
                follow(target, (*way, module))
            done.add(module)

    for module in imported:
        follow(module, ())
    return found


def imported_modules(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """The modules of ``sources`` that each of them imports, in functions and for types too."""
    imported: dict[str, set[str]] = {}
    for module, source in sources.items():
        targets = (target for _, target in imports_of(source))
        nearest = {t if t in sources else t.rpartition(".")[0] for t in targets}
        imported[module] = (nearest & sources.keys()) - {module}
    return imported


def test_no_modules_import_each_other() -> None:
    """No circle, not even one of imports inside functions or for types alone: of two modules, one
    can be read without the other."""
    sources = {module_name(path): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    # The door is everybody's: its version is what a job asks for.
    del sources["bundlerun"]
    assert circles(imported_modules(sources)) == []


def test_circles_are_found() -> None:
    """A circle over three modules, closed by an import inside a function."""
    sources = {
        "a": "import b",
        "b": "from c import x",
        "c": "def f():\n    from a import y",
        "d": "import a",
    }
    assert circles(imported_modules(sources)) == ["a -> b -> c -> a"]


def test_every_room_has_its_place_in_the_order() -> None:
    """A new room or module at the top is given a step before it is used."""
    names = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    }
    placed = {room for rooms in STEPS for room in rooms}
    assert names - {"__init__", "__main__"} <= placed


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bundlerun.bundles.value.tables", "def f():\n    import bundlerun.store.objects"),
        ("bundlerun.remotes.push", "from bundlerun.backends import base"),
        ("bundlerun.store.objects", "import boto3.session"),
        ("bundlerun.remotes.push", "from docker.errors import APIError"),
        ("bundlerun.runs.plan", "def f():\n    from luigi import Task"),
        ("bundlerun.api", "import click"),
        ("bundlerun.runs.plan", "from . import request"),
        ("bundlerun.runs.plan", "from bundlerun import add"),
        ("bundlerun.bundles.packs", "from bundlerun.bundles.value import encode"),
        ("bundlerun.store.store", "def f():\n    from bundlerun.store import gc"),
        ("bundlerun.store.gc.sweep", "from bundlerun.store.fsck.repair import repair"),
        ("bundlerun.remotes.push", "import bundlerun.remotes.gc.mark"),
    ],
)
def test_forbidden_imports_are_found(module: str, source: str) -> None:
    """The rules notice each kind of offence, inside functions too."""
    assert len(offences(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bundlerun", "from bundlerun.api import add"),
        ("bundlerun.cli.main", "import bundlerun"),
        ("bundlerun.runs.worker", "from bundlerun import __version__"),
        ("bundlerun.aws.s3", "def f():\n    import botocore.config"),
        ("bundlerun.backends.local_docker", "import docker"),
        ("bundlerun.cli.run", "import click\nfrom bundlerun import errors\nimport json"),
        ("bundlerun.remotes.push", "from bundlerun.bundles.packs import PackWriter"),
        ("bundlerun.remotes.gc.sweep", "from bundlerun.remotes.base import Remote"),
        ("bundlerun.remotes.fsck.packs", "from bundlerun.store.fsck import quarantine"),
        ("bundlerun.bundles.value.encode", "from bundlerun.bundles.value import tables"),
    ],
)
def test_allowed_imports_are_no_offence(module: str, source: str) -> None:
    """What the order permits passes."""
    assert offences(module, source) == []


def test_architecture_states_the_order_that_is_enforced() -> None:
    """ARCHITECTURE.md, which readers trust, has the same order of rooms."""
    page = ROOT / "ARCHITECTURE.md"
    if page.exists():
        text = page.read_text("utf-8").replace("`", "")
        assert ORDER_LINE in " ".join(text.split())


def test_architecture_states_the_sub_rooms_and_the_doors_that_are_enforced() -> None:
    """Its list of sub-rooms, and its table of foreign libraries, are the ones of this test."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    listed = text.partition("A **sub-room** is")[2].partition(". It may import")[0]
    assert set(re.findall(r"`([\w/]+)/`", listed)) == {
        name.removeprefix("bundlerun.").replace(".", "/") for name in SUB_ROOMS
    }
    table = text.partition("| library | who alone imports it |")[2].partition("\n\n")[0]
    doors = {
        library.strip(): tuple(re.findall(r"`([^`]+)`", places))
        for libraries, places in re.findall(r"^\| (\w.*) \| (.*) \|$", table, re.M)
        for library in libraries.split(",")
    }
    assert doors == {
        library: tuple(map(as_path, importers))
        for library, importers in SOLE_IMPORTERS.items()
        if not is_below(library, "bundlerun")
    }


def as_path(module: str) -> str:
    """`bundlerun.aws` is `aws/` in the documents, a module in a room `room/module.py`."""
    path = module.removeprefix("bundlerun.").replace(".", "/")
    if (PACKAGE / path).is_dir():
        return f"{path}/"
    return f"{path}.py" if "/" in path else path


def test_the_sub_rooms_are_there() -> None:
    """A rule for a folder that was renamed would hold nothing."""
    assert [name for name in SUB_ROOMS if not (ROOT / name.replace(".", "/")).is_dir()] == []
    folders = {path.parent for path in PACKAGE.glob("*/*/__init__.py")}
    assert {module_name(path / "__init__.py") for path in folders} == set(SUB_ROOMS)


def test_importing_bundlerun_imports_nothing_slow() -> None:
    """`import bundlerun` costs no AWS, luigi, Docker, Arrow or terminal library."""
    program = f"import bundlerun, sys; print([m for m in {SLOW!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"
