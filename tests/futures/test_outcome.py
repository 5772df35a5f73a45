"""Outcomes: an exception comes back as itself, and what cannot is told whole."""

from __future__ import annotations

import json
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.errors import (
    BadValue,
    InfraError,
    IntegrityError,
    ItemFailed,
    OutOfMemory,
    TimedOut,
    Untrusted,
)
from bundlerun.futures.outcome import Outcome, Raised, exception_of, raised_by, unreturnable
from tests.futures import awkward_errors
from tests.futures.awkward_errors import AS_TEXT, AS_THEMSELVES, Deceiver, LateBomb, OtherArgs
from tests.futures.children import in_child

RUN = "01912d68-783e-7a03-8467-5661c1243ad4"

CHILD = """
import sys
from bundlerun.futures.outcome import Outcome, raised_by
from tests.futures import awkward_errors
table, name = sys.argv[1:]
try:
    awkward_errors.raise_it(getattr(awkward_errors, table)[name])
except BaseException as error:
    outcome = Outcome(index=7, raised=raised_by(error), machine="host-1")
sys.stdout.buffer.write(outcome.to_bytes())
"""


def failed_in_child(table: str, name: str) -> Outcome:
    """The outcome of an item that raised, in an interpreter of its own."""
    return Outcome.from_bytes(in_child(CHILD, table, name))


def raised_here(error: BaseException) -> Raised:
    """As the item's process sees it."""
    try:
        raise error
    except BaseException as caught:
        return raised_by(caught)


def came(raised: Raised, *, trusted: bool = True) -> BaseException:
    """The exception at the client, after its way over the remote."""
    outcome = Outcome.from_bytes(Outcome(index=7, raised=raised, machine="host-1").to_bytes())
    return exception_of(outcome, RUN, trusted)


@pytest.mark.heavy
@pytest.mark.parametrize("name", AS_THEMSELVES)
def test_an_exception_comes_back_as_itself(name: str) -> None:
    """From another interpreter: class, args, text and attributes, and its remote traceback."""
    made = AS_THEMSELVES[name]()
    error = exception_of(failed_in_child("AS_THEMSELVES", name), RUN, True)
    assert type(error) is type(made)
    # Exceptions within have no equality of their own.
    assert repr((error.args, str(error), own_attributes(error))) == repr(
        (made.args, str(made), own_attributes(made))
    )
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert "in raise_it" in str(error.__cause__)
    assert "awkward_errors.py" in shown
    assert f"item 7 of run {RUN} on host-1: bundlerun logs {RUN[:13]}:7" in shown


def test_exceptions_within_others_come_as_themselves() -> None:
    """With their attributes, also where they cannot be loaded by their own pickle."""
    error = came(raised_here(awkward_errors.Around(OtherArgs(2, "x"))))
    inner = error.inner  # type: ignore[attr-defined]
    assert (type(inner), inner.code, inner.args) == (OtherArgs, 2, ("code 2 at x",))


def own_attributes(error: BaseException) -> dict[str, Any]:
    """Those that its class set; and what OSError keeps in no dict."""
    kept = {
        name: getattr(error, name)
        for name in ("filename", "object", "pos", "value")
        if hasattr(error, name)
    }
    return {**kept, **{name: each for name, each in vars(error).items() if name != "__notes__"}}


@pytest.mark.heavy
@pytest.mark.parametrize("name", AS_TEXT)
def test_what_cannot_come_as_itself_is_told_whole(name: str) -> None:
    """Class name, text and traceback; and nothing ends this program."""
    error = exception_of(failed_in_child("AS_TEXT", name), RUN, True)
    made = type(AS_TEXT[name]())
    assert isinstance(error, ItemFailed)
    assert error.class_name.endswith(made.__qualname__)
    assert made.__qualname__ in str(error)
    assert error.hint == f"bundlerun logs {RUN[:13]}:7"
    assert "raise_it" in error.evidence
    assert "raise_it" in str(error.__cause__)


def test_a_chain_of_causes_is_in_the_remote_traceback() -> None:
    """The client sees what the exception was raised from."""
    error = came(raised_here(awkward_errors.caused()))
    assert "KeyError: 'inner'" in str(error.__cause__)
    assert "direct cause" in str(error.__cause__)


def test_the_traceback_begins_at_the_item() -> None:
    """The frame that called the function is the worker's, and nobody's business."""

    def item() -> None:
        raise ValueError("x")

    try:
        item()
    except ValueError as error:
        raised = raised_by(error)
    assert "in item" in raised.traceback
    assert "test_the_traceback_begins" not in raised.traceback


@pytest.mark.heavy
def test_the_class_of_a_script_comes_back_as_the_same_class() -> None:
    """A class without a module of its own goes by value, there and back."""
    program = f"""
import pickle, sys, subprocess, cloudpickle
sys.path.insert(0, {str(Path.cwd())!r})
from bundlerun.futures.outcome import Outcome, raised_by, exception_of
class Own(Exception):
    def __init__(self, a, b):
        super().__init__(a + b)
        self.b = b
def item(): raise Own(1, 2)
child = '''
import sys, pickle
from bundlerun.futures.outcome import Outcome, raised_by
try:
    pickle.loads(sys.stdin.buffer.read())()
except Exception as error:
    sys.stdout.buffer.write(Outcome(index=0, raised=raised_by(error)).to_bytes())
'''
command = [sys.executable, "-c", child]
done = subprocess.run(command, input=cloudpickle.dumps(item), capture_output=True)
error = exception_of(Outcome.from_bytes(done.stdout), "run", True)
print(type(error) is Own, error.args, error.b)
"""
    assert in_child(program).decode() == "True (3,) 2\n"


@pytest.mark.parametrize(
    "kind", [LateBomb, Deceiver], ids=["ends the program", "is something else"]
)
def test_a_pickle_that_lies_is_told_as_text(kind: type[Exception]) -> None:
    """Tried in the child; and where a child did not try, refused here."""
    tried = came(raised_here(kind("x")))
    assert type(tried) is kind
    assert tried.args == ("x",)
    lying = Raised("lab.Error", "bad", "Traceback", pickle.dumps(kind("x")))
    error = came(lying)
    assert isinstance(error, ItemFailed)
    assert error.text == "bad"


def test_a_class_that_is_not_installed_here_is_told_as_text() -> None:
    """With the reason why it cannot be loaded."""
    data = pickle.dumps(OtherArgs).replace(b"awkward_errors", b"absent_errors_")
    error = came(Raised("lab.Error", "bad", "Traceback", data))
    assert isinstance(error, ItemFailed)
    assert "No module named 'tests.futures.absent_errors_'" in str(error)
    assert (error.class_name, error.text, error.evidence) == ("lab.Error", "bad", "Traceback")


def test_no_pickle_is_opened_that_is_not_trusted(tmp_path: Path) -> None:
    """The exception says what is claimed, and what would open it; a bomb does not go off."""
    mark = tmp_path / "exploded"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (mark,))

    raised = Raised("lab.Error", "bad", "Traceback", pickle.dumps(Bomb()))
    error = came(raised, trusted=False)
    assert isinstance(error, Untrusted)
    assert "lab.Error: bad" in str(error)
    assert "trust=True" in str(error.hint)
    assert not mark.exists()
    text = came(Raised("lab.Error", "bad", "Traceback"), trusted=False)
    assert isinstance(text, ItemFailed)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [("OutOfMemory", OutOfMemory), ("TimedOut", TimedOut), ("annotations", InfraError)],
)
def test_what_ended_an_item_without_an_exception_is_an_error_of_its_own(
    failure: str, kind: type[Exception]
) -> None:
    """By its name, with the last output as evidence; an unknown name is InfraError."""
    outcome = Outcome(index=3, failure=failure, reason="killed by signal 9", stderr="last words")
    error = exception_of(Outcome.from_bytes(outcome.to_bytes()), RUN, False)
    assert type(error) is kind
    assert "killed by signal 9" in str(error)
    assert error.evidence == "last words"  # type: ignore[attr-defined]
    assert f"bundlerun logs {RUN[:13]}:3" in str(error)


def test_what_cannot_be_returned_is_told() -> None:
    """Class, text and why; it travels as any exception does."""
    error = came(raised_here(unreturnable(iter(()), TypeError("cannot pickle"))))
    assert isinstance(error, ItemFailed)
    assert "tuple_iterator" in str(error)
    assert "cannot pickle" in str(error)
    assert error.class_name == "tuple_iterator"


TEXTS = st.text(st.characters(), max_size=20) | st.just("\udc80 \0 \n")
RAISED = st.builds(Raised, TEXTS, TEXTS, TEXTS, st.binary())
COMMON = {
    "index": st.integers(0, 2**62),
    "attempt": st.integers(1, 9),
    "stdout": TEXTS,
    "stderr": TEXTS,
    "reason": TEXTS,
    "started_s": st.floats(0, 1e10),
    "peak_memory_mib": st.floats(0, 1e6),
    "machine": TEXTS,
}
OUTCOMES = st.one_of(
    st.builds(Outcome, **COMMON, value=st.binary()),  # type: ignore[arg-type]
    st.builds(Outcome, **COMMON, raised=RAISED),  # type: ignore[arg-type]
    st.builds(Outcome, **COMMON, failure=st.sampled_from(["TimedOut", "OutOfMemory"])),  # type: ignore[arg-type]
)


@given(OUTCOMES)
def test_an_outcome_comes_back_equal(outcome: Outcome) -> None:
    """But for what UTF-8 cannot have, of which the escape comes."""
    back = Outcome.from_bytes(outcome.to_bytes())
    assert back.value == outcome.value
    assert back.ok is outcome.ok
    assert back.stdout == outcome.stdout.encode(errors="backslashreplace").decode()
    assert (back.index, back.attempt, back.started_s) == (
        outcome.index,
        outcome.attempt,
        outcome.started_s,
    )
    assert (back.raised and back.raised.data) == (outcome.raised and outcome.raised.data)
    assert back.to_bytes() == outcome.to_bytes()


@given(OUTCOMES, st.data())
def test_a_cut_outcome_is_refused(outcome: Outcome, draw: st.DataObject) -> None:
    """As damage, and as nothing else."""
    data = outcome.to_bytes()
    with pytest.raises(IntegrityError):
        Outcome.from_bytes(data[: draw.draw(st.integers(0, len(data) - 1))])
    with pytest.raises(IntegrityError):
        Outcome.from_bytes(data + b"x")


@pytest.mark.parametrize(
    "change",
    [
        {"index": "7"},
        {"index": -1},
        {"attempt": True},
        {"failure": ["TimedOut"]},
        {"stdout": 1},
        {"started_s": None},
        {"value": 3, "failure": "TimedOut"},
        {"value": "3"},
        {"value": -1},
        {"raised": {"class_name": "x"}},
        {"raised": {"class_name": 1, "text": "", "traceback": "", "size": 0}},
        {"raised": {"class_name": "x", "text": "", "traceback": "", "size": 7}},
        {"raised": {"class_name": "x", "text": "", "traceback": "", "size": 0, "data": ""}},
        {"raised": []},
        {"unknown": 1},
        {"to_bytes": 1},
    ],
    ids=str,
)
def test_a_malformed_outcome_is_refused(change: dict[str, Any]) -> None:
    """An outcome without a key is still read: no type is believed."""
    sound = {"index": 1, "attempt": 1, "value": None}
    line = json.dumps({**sound, **change}).encode()
    with pytest.raises(IntegrityError):
        Outcome.from_bytes(line + b"\n")


@pytest.mark.parametrize("data", [b"", b"\n", b"[]\n", b"{}\n", b"7", b"[" * 100_000, b"\xff\n"])
def test_what_is_not_an_outcome_is_refused(data: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(IntegrityError):
        Outcome.from_bytes(data)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="add_note came with Python 3.11")
def test_the_note_stands_once() -> None:
    """Also where the exception was raised with notes of its own."""
    error = ValueError("x")
    error.add_note("mine")
    back = came(raised_here(error))
    assert [note.split(" ")[0] for note in back.__notes__] == ["mine", "item"]


def test_what_cannot_come_back_has_one_cure() -> None:
    """That of the item: what the pickler proposes is not said beside it."""
    why = BadValue("a value of type generator cannot be pickled", hint="plain data")
    told = str(unreturnable((n for n in [1]), why))
    assert told.count("try:") == 1
    assert "returned a generator" in told
    assert "cannot be pickled" in told
