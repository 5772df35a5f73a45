"""What a backend is like stands on its class, and its name is compared nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import registry
from bundlerun.backends.open import backend_type, traits_of
from bundlerun.errors import UsageError
from bundlerun.jobs.backend import ImageAt, Traits

PACKAGE = Path(br.__file__).parent
NAMES = re.compile(r"\b(Local|AWSBatch)\b")
PLACES = {"registry.py", "backends/local_docker.py", "backends/aws_batch.py"}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and content of every string in the code, docstrings left out."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


def test_no_code_but_its_own_names_a_backend() -> None:
    """A name that is compared somewhere is a trait that is missing; help may name the sandbox's."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in PLACES
        for line, text in texts(path.read_text("utf-8"))
        if NAMES.search(text) and not text.startswith("An AWS in a box")
    ]
    assert found == []


@pytest.mark.parametrize("name", registry.BACKENDS)
def test_every_backend_says_what_it_is_like(name: str) -> None:
    """Name and traits stand on the class: nothing is opened to read them."""
    assert backend_type(name).name == name
    assert isinstance(traits_of(name), Traits)


def test_the_two_backends_differ_where_their_users_see_it() -> None:
    """A local run waits and needs the image on the engine; one on Batch goes on alone."""
    local, batch = traits_of("Local"), traits_of("AWSBatch")
    assert (local.waits, local.image, local.sees_folders) == (True, ImageAt.ENGINE, True)
    assert (batch.waits, batch.image, batch.sees_folders) == (False, ImageAt.REGISTRY, False)
    assert (batch.most_retries, batch.least_timeout_s) == (9, 60)


@pytest.mark.parametrize(
    ("name", "retries", "timeout_s", "cure"),
    [
        ("Local", 1, None, "--retries 0"),
        ("AWSBatch", 10, None, "--retries 9"),
        ("AWSBatch", 0, 59, "--timeout-s 60"),
        ("Local", 0, 0, "--timeout-s 1"),
    ],
)
def test_a_limit_that_a_backend_cannot_keep_is_refused_before_anything_is_done(
    tmp_path: Path, name: str, retries: int, timeout_s: int | None, cure: str
) -> None:
    """Neither an image nor a remote is needed to hear of it."""
    workspace = br.open(tmp_path / "store", context="work")
    with pytest.raises(UsageError) as no:
        workspace.run(None, "out", "pkg.m.Pipe", backend=name, retries=retries, timeout_s=timeout_s)
    assert no.value.hint == cure
