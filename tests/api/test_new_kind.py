"""A kind of value that is new takes one row, and every verb knows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = '''
import sys
from fractions import Fraction

import bundlerun as br
from bundlerun.bundles.link import Link
from bundlerun.bundles.value import kind
from bundlerun.bundles.value.nodes import link_bytes, only


class Melody:
    """Notes, of which there may be many."""

    def __init__(self, notes):
        self.notes = notes

    def __eq__(self, other):
        return type(other) is Melody and other.notes == self.notes


def encode(value, encoder):
    return b'{"melody":%s}' % link_bytes(encoder.put_bytes(value.notes))


def decode(term, decoder):
    return Melody(decoder.read(Link.from_json(only(term, "melody")["melody"])))


kind.add([
    kind.Kind(
        tags=("melody",), types=(Melody,), encode=encode, decode=decode,
        links=lambda term: (Link.from_json(term["melody"]),)),
    kind.Kind(
        tags=("ratio",), types=(Fraction,), is_key=True,
        write=lambda value: b'{"ratio":"%s"}' % str(value).encode(),
        read=lambda term: Fraction(term["ratio"])),
])

folder = sys.argv[1]
notes = b"cdefg" * 40_000
value = {"tune": Melody(notes), Fraction(1, 3): [Fraction(2, 3)] * 3, "table": None}
with br.open(f"{folder}/one", f"file://{folder}/remote", "work") as here:
    here.add("song", value, tags={"take": "1"}, commit=True)
    assert here.get("song") == value
    assert here.view("song")["tune"] == Melody(notes)
    old = here.find("song")
    here.push("song")
    entries = here.cat("song")["entries"]
    assert entries[0] == {"key": "tune", "type": "melody", "size": 200_000}
    assert entries[1]["key"] == "1/3"
    assert entries[1]["entries"][0] == {"type": "Fraction", "value": "2/3"}
    here.add("song", {**value, "tune": Melody(b"c"), "new": Fraction(5)}, commit=True)
    tune, new = here.diff(old, "song").changes
    assert (tune.where, tune.old["size"], tune.new["size"]) == ('value["tune"]', 200_000, 1)
    assert (new.what, new.new["value"]) == ("added", "5")
    assert here.fsck().whole and here.fsck(remote=True).whole
with br.open(f"{folder}/two", f"file://{folder}/remote", "work") as there:
    there.pull("song")
    assert there.get("song") == value
    print("whole")
'''


@pytest.mark.heavy
def test_a_new_kind_of_value_is_kept_shown_compared_and_sent_by_its_row(tmp_path: Path) -> None:
    """One whose bytes are objects of their own, and one that is whole in its term and a key."""
    program = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stderr, done.stdout) == ("", "whole\n")
