"""The words of the project: every refusal has its cure, and no text reads as translated."""

from __future__ import annotations

import ast
import inspect
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path

import pytest

from bundlerun import errors
from bundlerun.aws.failures import CODES, STATUSES

ROOT = Path(__file__).resolve().parent.parent / "bundlerun"

PAGES = [
    ROOT.parent / name
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
]
PAGES += sorted((ROOT.parent / "docs").glob("*.md"))

WITHOUT_CURE = {
    "pipelines/failures.py:raised_in": "the pipe's own traceback shows what to mend",
    "remotes/base.py:Remote.complete": "never called where begin() gave None",
    "remotes/base.py:Remote.put_part": "never called where begin() gave None",
    "remotes/base.py:checked_key": "keys are made by bundlerun, and never typed",
    "remotes/folder.py:FileRemote._path": "keys are made by bundlerun, and never typed",
}
"""The functions that refuse without a command to type, and why. There is no other."""


@dataclass(frozen=True)
class Text:
    """A text of the code: where it stands, and whether it is a docstring."""

    where: str
    text: str
    is_docstring: bool


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of bundlerun, by its path below the package."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


def calls(node: ast.AST, place: str = "") -> Iterator[tuple[str, ast.Call]]:
    """Every call below ``node``, with the qualified name of the function that it stands in."""
    for child in ast.iter_child_nodes(node):
        inner = place
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            inner = f"{place}.{child.name}" if place else child.name
        if isinstance(child, ast.Call):
            yield place, child
        yield from calls(child, inner)


def refusals() -> Iterator[tuple[str, type[errors.BundlerunError], ast.Call]]:
    """Every call that makes an error of ours: its place, the class, the call."""
    for path, tree in modules().items():
        for place, call in calls(tree):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            kind = getattr(errors, name, None)
            if isinstance(kind, type) and issubclass(kind, errors.BundlerunError):
                yield f"{path}:{place}", kind, call


def has_cure(kind: type[errors.BundlerunError], call: ast.Call) -> bool:
    """Whether the error names a command: its own, or that of its class."""
    given = [word.value for word in call.keywords if word.arg == "hint"]
    ends = [end for hint in given for end in branches(hint)]
    named = bool(ends) and all(not isinstance(end, ast.Constant) or end.value for end in ends)
    return named or (not given and kind.cure is not None)


def branches(hint: ast.expr) -> Iterator[ast.expr]:
    """What ``a if b else c`` can come to."""
    if isinstance(hint, ast.IfExp):
        yield from branches(hint.body)
        yield from branches(hint.orelse)
    else:
        yield hint


def test_every_refusal_names_the_next_command() -> None:
    """``hint=``, or the cure of the class; the few others stand in WITHOUT_CURE."""
    found = list(refusals())
    assert len(found) > 400
    without = {place for place, kind, call in found if not has_cure(kind, call)}
    assert without == set(WITHOUT_CURE)


def test_every_failure_of_aws_names_the_next_command() -> None:
    """The table of AWS's failures has a hint in each row."""
    failures = {*CODES.values(), *STATUSES.values()}
    assert len(failures) > 8
    assert [failure.meaning for failure in failures if not failure.hint] == []


TRANSLATED = re.compile(
    r"""
      \b(?:is|are|was|were)\s+(?:no|none)\b(?!\s+(?:longer|more|such))
    | \b(?:is|are|was|were)\s+to\s+be\b
    | \b(?:has|have|had)\s+not\s+(?:the|its|a|an|their)\b
    | \b(?:be|to\s+be|are|is)\s+had\b
    | \b(?:made|written|built|read)\s+anew\b
    | \b(?:is|are)\s+said\s+to\b
    | \bby\s+hand\b | \b[Bb]eside\b | \b[Ww]hoever\b | \bwants\s+it\s+so\b
    | \bneither\s+here\s+nor\s+there\b
    """,
    re.X,
)
"""Forms of texts that were translated word by word: "must", "is not" and "cannot" say it."""

PLAIN = re.compile(r"\bthere\s+(?:is|are)\s+no(?:ne)?\b", re.I)
"""What is good English and looks like one of them."""


def texts() -> Iterator[Text]:
    """Every message, help text and docstring, f-strings with {} for what they are filled with."""
    for path, tree in modules().items():
        inner = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
        docs = {id(doc) for doc in docstrings(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
                yield Text(f"{path}:{node.lineno}", "".join(map(str, parts)), False)
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in inner
            ):
                yield Text(f"{path}:{node.lineno}", node.value, id(node) in docs)


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """The docstrings of a module, its classes and functions, and of its variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def is_translated(text: str) -> bool:
    """Whether a form of TRANSLATED stands in ``text``."""
    return TRANSLATED.search(PLAIN.sub("", re.sub(r"``.*?``", "", text))) is not None


def test_no_message_reads_as_translated() -> None:
    """House rules of words, 1 and 4; the tables of SQL have no readers."""
    found = [each for each in texts() if not each.is_docstring and "CREATE TABLE" not in each.text]
    assert len(found) > 1000
    assert [f"{text.where}: {text.text}" for text in found if is_translated(text.text)] == []


def test_no_docstring_reads_as_translated() -> None:
    """The same rules for the texts that developers read."""
    found = [each for each in texts() if each.is_docstring]
    assert len(found) > 1500
    assert [f"{text.where}: {text.text}" for text in found if is_translated(text.text)] == []


SECOND = re.compile(r"""[.!?]["`)]* +[A-Z`"]""")
"""Where a second sentence begins on a line."""


def is_summary(docstring: str) -> bool:
    """Whether a docstring begins with one sentence of at most 80 characters, on its own."""
    paragraph = inspect.cleandoc(docstring).split("\n\n")[0]
    is_a_line = "\n" not in paragraph and len(paragraph) <= 80
    return is_a_line and paragraph.endswith(".") and not SECOND.search(paragraph)


def test_every_docstring_begins_with_one_sentence_of_a_line() -> None:
    """House rule of words, 3: the rest follows after an empty line."""
    found = [each for each in texts() if each.is_docstring]
    assert len(found) > 2000
    assert [each.where for each in found if not is_summary(each.text)] == []


def test_summaries_that_are_not_one_sentence_of_a_line_are_seen() -> None:
    """The rule finds what it is for, and lets plain summaries pass."""
    for text in (
        "The link.",
        "Keep ``data``.\n\n    Raises BadPath.\n    ",
        "The names (e.g. a.b); None without one.",
    ):
        assert is_summary(text), text
    for text in (
        "The link",
        "The link. Raises BadPath.",
        "A summary that runs\n    over a line.",
        "The first line.\n    The rest, without an empty line.",
        "x" * 80 + ".",
    ):
        assert not is_summary(text), text


@pytest.mark.heavy
def test_no_comment_reads_as_translated() -> None:
    """Nor what comments say of the reasons."""
    found = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path in sorted(ROOT.rglob("*.py"))
        for token in tokenize.generate_tokens(StringIO(path.read_text("utf-8")).readline)
        if token.type == tokenize.COMMENT and is_translated(token.string)
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_reads_as_translated(page: Path) -> None:
    """Nor the documents of users and developers."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if is_translated(line)] == []


def test_forms_that_are_translated_are_seen() -> None:
    """The rule finds what it is for, and lets plain English pass."""
    for text in ("'x' is no time", "it is to be a number", "could not be had", "made anew"):
        assert is_translated(text), text
    for text in ("there is no such bucket", "'x' is not a time", "it is no longer there"):
        assert not is_translated(text), text
