"""Who comes from cloudknot or Covalent finds each of their arguments on one page."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.backends.open import backend_type
from bundlerun.errors import UsageError
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.settings import AwsSettings, RunSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/from-cloudknot-and-covalent.md").read_text(encoding="utf-8")
SIGNATURES: dict[str, list[str]] = json.loads((Path(__file__).parent / "peers.json").read_text())
"""The arguments of cloudknot 0.6.1 and covalent-awsbatch-plugin 0.42.0, read off their sources."""


def rows(chapter: str) -> list[list[str]]:
    """The cells of a chapter's table, without its head."""
    text = PAGE.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(kind: type) -> set[str]:
    """The fields of a dataclass."""
    return {each.name for each in fields(kind)}


def arguments(function: object) -> set[str]:
    """The parameters of a function."""
    return set(inspect.signature(function).parameters)  # type: ignore[arg-type]


OURS: dict[str, set[str]] = {
    "Pars": names(ParsOptions),
    "Knot": names(KnotOptions),
    "Knot.clobber": arguments(br.Knot.clobber),
    "map": arguments(br.map) | names(br.MapOptions),
    "starmap": arguments(br.starmap),
    "DockerImage": arguments(br.DockerImage),
    "DockerImage.build": arguments(br.DockerImage.build),
    "DockerImage.push": arguments(br.DockerImage.push),
    "DockerImage.write": arguments(br.DockerImage.write),
    "[aws]": names(AwsSettings),
    "[run]": names(RunSettings),
    "[backends.AWSBatch]": names(backend_type("AWSBatch").options),
}


def is_there(cell: str) -> bool:
    """Whether what a cell names is in this package: `Knot(memory_mib=)`, `[run] vcpus`."""
    if cell == "`BUNDLERUN_STORE`":
        return "`BUNDLERUN_STORE`" in (ROOT / "docs/settings.md").read_text()
    told = re.fullmatch(r"`([\w.]+)\((\w+)=\)`|`(\[[\w.]+\]) (\w+)`", cell)
    if told is None:
        return False
    where, name = (told[1], told[2]) if told[1] else (told[3], told[4])
    return name in OURS.get(where, set())


@pytest.mark.parametrize("chapter", SIGNATURES)
def test_each_of_their_arguments_has_its_row(chapter: str) -> None:
    """In the order of their signature, and no other."""
    assert [theirs.strip("`") for theirs, *_ in rows(chapter)] == SIGNATURES[chapter]


@pytest.mark.parametrize("chapter", SIGNATURES)
def test_what_is_named_of_ours_exists(chapter: str) -> None:
    """A renamed option is noticed here; and where there is none, the page says why."""
    for theirs, ours, differs in rows(chapter):
        assert is_there(ours) or (ours == "none" and differs), (theirs, ours)


def test_the_page_has_no_other_chapter() -> None:
    """A table that nobody compares would grow old."""
    assert re.findall(r"^## (.*)$", PAGE, re.M) == list(SIGNATURES)


def test_a_row_of_what_is_not_there_is_noticed() -> None:
    """The comparison itself."""
    assert is_there("`Knot(memory_mib=)`")
    assert not is_there("`Knot(memory=)`")
    assert not is_there("`[run] memory`")
    assert not is_there("")


def test_their_names_of_options_are_answered_by_ours() -> None:
    """Who types an argument of cloudknot's is told the one of the same kind here."""
    kinds = {"Pars": ParsOptions, "Knot": KnotOptions}
    asked = 0
    for kind, options in kinds.items():
        for theirs, ours, *_ in rows(f"cloudknot 0.6.1: {kind}"):
            told = re.fullmatch(rf"`{kind}\((\w+)=\)`", ours)
            if told is None or told[1] in (theirs.strip("`"), "name"):
                continue
            asked += 1
            with pytest.raises(UsageError, match=f"did you mean '{told[1]}'"):
                options.of("lab", **{theirs.strip("`"): 1})
    assert asked > 15
