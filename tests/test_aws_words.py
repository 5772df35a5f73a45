"""AWS as an idea has its rooms: no other code knows its words, but for what stands in a table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import bundlerun as br

PACKAGE = Path(br.__file__).parent

PLACES = (
    "aws/*",
    "sandbox/*",
    "remotes/s3*.py",
    "images/publish.py",
    "backends/aws_batch*.py",
    "provision/*",
    "api/knot_place.py",
    "api/knots.py",
    "api/resources.py",
    "cli/aws*.py",
    "registry.py",
)
"""The rooms of AWS, and the rows by which the others find them."""

ALLOWED = {
    "settings.py": (
        {"AwsSettings", "aws", "session_role_arn", "BUNDLERUN_SESSION_ROLE_ARN"},
        "one place reads the file, and [aws] is a section of it",
    ),
    "cli/main.py": (
        {
            "Run a pipe in its container, here or on AWS Batch.",
            "Run an AWS in a box, to try AWSBatch without an account.",
            "aws",
            "Make, look at and delete the resources on AWS that jobs run on.",
        },
        "the list of verbs, in which people look for these words",
    ),
    "cli/run.py": ({"--use-aws-session-token"}, "an option's name"),
    "runs/job_spec.py": ({"leave out --use-aws-session-token"}, "the name of that option"),
    "images/selection.py": ({".aws"}, "a folder of secrets that no image may have"),
    "remotes/identity.py": (
        {"bundlerun remote CONTEXT URL, on a server that does (AWS S3, Ceph, MinIO)"},
        "the names of S3 servers",
    ),
}
"""By file: the words that it may have, and why."""

WORDS = {"aws", "amazon", "boto", "boto3", "botocore", "ecr", "arn", "sts", "iam", "cloudwatch"}
IN_TEXTS = re.compile(rf"(?i)(?<![a-z])({'|'.join(sorted(WORDS))}|secretsmanager)(?![a-z])")


def words_of(name: str) -> set[str]:
    """`AwsSettings` and `aws_settings` are both aws and settings."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*|\d+", name)}


def names_in(node: ast.AST) -> Iterator[str]:
    """The identifiers that a node itself has."""
    for field in ("id", "attr", "arg", "name", "asname", "module"):
        value = getattr(node, field, None)
        if isinstance(value, str):
            yield value


def mentions(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every identifier and string of AWS's; docstrings and what is only shown
    (`help=`, `metavar=`) are left out, for people look for these words there."""
    tree = ast.parse(source)
    shown = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("help", "metavar"):
            shown |= {id(part) for part in ast.walk(node.value)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in names_in(node):
            if words_of(name) & WORDS:
                yield line, name
        text = node.value if isinstance(node, ast.Constant) and id(node) not in shown else None
        if isinstance(text, str) and IN_TEXTS.search(text):
            yield line, text


def strangers() -> Iterator[str]:
    """Every mention that stands elsewhere and in no row of the table."""
    for path in sorted(PACKAGE.rglob("*.py")):
        file = str(path.relative_to(PACKAGE))
        if any(fnmatch(file, place) for place in PLACES):
            continue
        words, _ = ALLOWED.get(file, (set(), ""))
        for line, text in mentions(path.read_text("utf-8")):
            if text not in words:
                yield f"{file}:{line}: {text}"


@pytest.mark.heavy
def test_aws_stands_in_its_rooms_alone() -> None:
    """A new service of its kind is an addition there, and no operation elsewhere."""
    assert list(strangers()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from bundlerun.aws.session import clients_of",
        "def f(settings):\n    return settings.aws.profile",
        "role_arn = None",
        "SECRET = 'AWS_SECRET_ACCESS_KEY'",
        "raise E(f'an ARN of {x}')",
        "class EcrRepository: ...",
    ],
)
def test_a_mention_is_found(source: str) -> None:
    """In an import, a name, a text."""
    assert list(mentions(source))


@pytest.mark.parametrize(
    "source",
    ['"""As AWS Batch does."""', "option(help='on AWS')", "for draws in laws: learn(batches)"],
)
def test_what_is_said_to_people_is_no_mention(source: str) -> None:
    """Docstrings, help, and words that only have these letters."""
    assert list(mentions(source)) == []


def test_the_table_has_no_row_without_a_mention() -> None:
    """A reason for what is gone would let it come back."""
    for file, (words, reason) in ALLOWED.items():
        assert reason
        assert words == {t for _, t in mentions((PACKAGE / file).read_text()) if t in words}, file
