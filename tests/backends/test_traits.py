"""What a backend is like stands on its class, and its name is compared nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import registry
from bundlerun.backends.base import Backend, ImageAt, Traits
from bundlerun.backends.open import backend_type, open_backend, traits_of
from bundlerun.connections import Connections
from bundlerun.errors import SettingsError, UsageError
from bundlerun.settings import Settings, read_settings

PACKAGE = Path(br.__file__).parent
NAMES = re.compile(r"\b(Local|AWSBatch)\b")
HELP = {("main.py", "Run an AWS in a box, to try AWSBatch without an account.")}
PLACES = {"registry.py", "backends/local_docker.py", "backends/aws_batch.py"}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and content of every string in the code, docstrings left out."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


@pytest.mark.heavy
def test_no_code_but_its_own_names_a_backend() -> None:
    """A name that is compared somewhere is a trait that is missing; help may name the sandbox's."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in PLACES
        for line, text in texts(path.read_text("utf-8"))
        if NAMES.search(text) and (path.name, text) not in HELP
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


@pytest.mark.parametrize(
    ("name", "option"),
    [("Local", "job_role_arn"), ("AWSBatch", "queue"), ("AWSBatch", "colour")],
)
def test_an_option_that_a_backend_does_not_have_is_refused(
    tmp_path: Path, name: str, option: str
) -> None:
    """What was asked for explicitly is never ignored."""
    workspace = br.open(tmp_path / "store", context="work")
    with pytest.raises(UsageError, match=f"{name} cannot be given {option}") as no:
        workspace.run(None, "out", "pkg.m.Pipe", backend=name, job_options={option: "x"})
    assert f"--set {option}" in str(no.value.hint)


def open_all(settings: Settings) -> list[Backend]:
    """Every built-in backend."""
    return [open_backend(name, Connections(settings)) for name in registry.BACKENDS]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[backends.Local]\nqueue = 'q'\n", r"\[backends.Local\] has no key 'queue'; .*none"),
        ("[backends.AWSBatch]\nqueu = 'q'\n", r"has no key 'queu'; there are: queue, job_role_arn"),
        ("[backends.AWSBatch]\nqueue = 3\n", r"\[backends.AWSBatch\] queue must be a text"),
        ("[backends.AWSBach]\nqueue = 'q'\n", r"\[backends.AWSBach\] names an unknown backend"),
    ],
)
def test_a_backend_validates_its_own_section(tmp_path: Path, text: str, words: str) -> None:
    """The file, the section and the key are named; the backend is not opened."""
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(SettingsError, match=words) as no:
        open_all(read_settings({"BUNDLERUN_HOME": str(tmp_path)}))
    assert "config.toml" in str(no.value)


def test_doctor_says_what_every_backend_says_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A section that a backend does not understand is a failing check under its name."""
    (tmp_path / "config.toml").write_text("[backends.AWSBatch]\nqueu = 'q'\n")
    monkeypatch.setenv("BUNDLERUN_HOME", str(tmp_path))
    checks = {check.what: check for check in br.open(context="c").doctor()}
    assert "engine" in checks
    assert checks["AWSBatch"].ok is False
    assert "queu" in checks["AWSBatch"].detail


@pytest.mark.parametrize("name", registry.BACKENDS)
def test_an_array_that_a_backend_cannot_take_is_refused(name: str) -> None:
    """A job more than its largest array, and none at all."""
    backend = backend_type(name)
    for array in (0, backend.traits.largest_array + 1):
        with pytest.raises(UsageError, match="a submission"):
            backend.check_limits(retries=0, timeout_s=None, array=array)
