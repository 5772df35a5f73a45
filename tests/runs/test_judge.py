"""What became of a run: the whole lattice of looks, envelope and output."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from bundlerun import errors
from bundlerun.backends.job import Failure, JobState, JobStatus
from bundlerun.runs.envelope import Envelope, Missing, Unreadable
from bundlerun.runs.settle import Ask, Outcome, Output, is_over, judge

AWAY = JobStatus(JobState.ELSEWHERE, reason="a container on another host")
OPEN = [JobStatus(state) for state in JobState if not state.final and state is not AWAY.state]
DONE = JobStatus(JobState.SUCCEEDED)
LOST = JobStatus(JobState.LOST, reason="nobody knows it")
FAILED = [JobStatus(JobState.FAILED, failure, "words") for failure in Failure]
BARE = JobStatus(JobState.FAILED)
CANCELLED = JobStatus(JobState.CANCELLED, Failure.CANCELLED, "cancelled")

NOT_OVER = [[], *([look] for look in OPEN), [LOST, OPEN[0]], [DONE, OPEN[-1]]]
LOST_ONCE = [[LOST], [OPEN[-1], LOST], [LOST, OPEN[-1], LOST]]
ELSEWHERE = [[AWAY], [OPEN[-1], AWAY], [LOST, AWAY]]
OVER = [[DONE], [LOST, LOST], [OPEN[-1], LOST, LOST], [CANCELLED], [BARE], *([f] for f in FAILED)]
KILLED = ("OutOfMemory", "TimedOut", "SpotReclaimed", "ImagePull", "Cancelled")

GOOD = Envelope("run", 1, "succeeded", output="id", tail="tail")
RAISED = Envelope("run", 1, "failed", error="UserError", message="ValueError: no", traceback="tb")
ODD = [
    replace(RAISED, error=name) for name in ("annotations", "BundleNotFound", "named", "E", None)
]
GARBLED = Unreadable(1, "a record is not JSON")
ENDED = replace(RAISED, error="Cancelled")
ENVELOPES = [Missing.UNREAD, Missing.ABSENT, GARBLED, GOOD, RAISED, ENDED, *ODD]


def by_envelope(envelope: object) -> tuple[object, ...]:
    """What an envelope of a failure tells."""
    error = envelope.error if isinstance(envelope, Envelope) else None
    if error == "Cancelled":
        return (JobState.CANCELLED, error)
    return (JobState.FAILED, error if error == "UserError" else "InfraError")


def named(looks: list[JobStatus]) -> str:
    """A series of looks as a test's name has it."""
    words = [f"{look.state.value} {look.failure.value if look.failure else ''}" for look in looks]
    return ", ".join(word.strip() for word in words) or "no look"


def expected(looks: list[JobStatus], envelope: object, output: Output) -> tuple[object, ...]:
    """The rules, written down once more as a table: (ask,) or (state, failure)."""
    job = looks[-1] if looks else None
    good = isinstance(envelope, Envelope) and envelope.succeeded
    if looks in LOST_ONCE or looks in ELSEWHERE:
        told_of = isinstance(envelope, (Unreadable, Envelope)) and not good
        if told_of and looks in ELSEWHERE:
            return by_envelope(envelope)
        if envelope is Missing.UNREAD:
            return (Ask.ENVELOPE,)
        if good and output is Output.UNKNOWN:
            return (Ask.OUTPUT,)
        if good and output is Output.PRESENT:
            return (JobState.SUCCEEDED, None)
        return (Ask.JOB,)
    if looks not in OVER:
        return (Ask.JOB,)
    if envelope is Missing.UNREAD:
        return (Ask.ENVELOPE,)
    assert job is not None
    named = job.failure.value if job.failure else "InfraError"
    by_backend = (
        JobState.CANCELLED
        if named == "Cancelled"
        else JobState.LOST
        if job.state is JobState.LOST
        else JobState.FAILED,
        named,
    )
    if isinstance(envelope, (Unreadable, Envelope)) and not good:
        if named in KILLED:
            return by_backend
        return by_envelope(envelope)
    if output is Output.UNKNOWN:
        return (Ask.OUTPUT,)
    if output is Output.PRESENT:
        return (JobState.SUCCEEDED, None)
    if output is Output.DAMAGED:
        return (JobState.FAILED, "InfraError")
    if good or job.state is JobState.SUCCEEDED:
        return (JobState.FAILED, "MissingOutput")
    return by_backend


def told(outcome: Outcome) -> tuple[object, ...]:
    """An outcome as the table has it."""
    if outcome.ask is not Ask.NOTHING:
        return (outcome.ask,)
    return (outcome.state, outcome.failure and outcome.failure.__name__)


@pytest.mark.parametrize("attempt", [None, 1, 2])
@pytest.mark.parametrize("looks", [*NOT_OVER, *LOST_ONCE, *ELSEWHERE, *OVER], ids=named)
def test_every_place_of_the_lattice_has_its_outcome(
    looks: list[JobStatus], attempt: int | None
) -> None:
    """Each envelope and each state of the output, for each series of looks; an envelope of an
    attempt before the one that ended is as none."""
    seen = [replace(look, attempt=attempt) for look in looks]
    for envelope, output in product(ENVELOPES, Output):
        stale = attempt == 2 and looks in OVER and not isinstance(envelope, Missing)
        rule = expected(looks, Missing.ABSENT if stale else envelope, output)
        assert told(judge(seen, envelope, output)) == rule
    assert is_over(seen) == (looks in OVER)


@pytest.mark.parametrize("looks", [*LOST_ONCE, *ELSEWHERE, *OVER], ids=named)
def test_what_is_asked_for_is_never_asked_for_again(looks: list[JobStatus]) -> None:
    """Whatever is answered, at most one envelope and one output later it is judged, or the job is
    looked at again."""
    for answer, output in product(ENVELOPES[1:], list(Output)[1:]):
        envelope, known, asked = Missing.UNREAD, Output.UNKNOWN, []
        while (outcome := judge(looks, envelope, known)).ask not in (Ask.NOTHING, Ask.JOB):
            asked.append(outcome.ask)
            if outcome.ask is Ask.ENVELOPE:
                envelope = answer
            else:
                known = output
        assert asked in ([Ask.ENVELOPE], [Ask.ENVELOPE, Ask.OUTPUT])


def test_a_failure_says_what_was_found() -> None:
    """The pipe's own words and traceback; those of the backend; those of a garbled envelope."""
    raised = judge([DONE], RAISED)
    assert (raised.reason, raised.evidence) == ("failed: ValueError: no", "tb")
    garbled = judge([DONE], GARBLED)
    assert "a record is not JSON" in garbled.reason
    killed = judge([JobStatus(JobState.FAILED, Failure.OUT_OF_MEMORY, "at its limit")], RAISED)
    assert killed.failure is errors.OutOfMemory
    assert killed.reason == "failed: OutOfMemory: at its limit"
    lost = judge([LOST, LOST], Missing.ABSENT, Output.ABSENT)
    assert lost.reason == "failed: InfraError: nobody knows it"


def test_a_cancelled_run_is_not_called_a_failure() -> None:
    """Who asked for the end in another way than ours has left words, which are kept."""
    assert judge([CANCELLED], Missing.ABSENT, Output.ABSENT).reason == "was cancelled"
    ended = replace(CANCELLED, reason="ended by the team's own clean-up")
    reason = judge([ended], Missing.ABSENT, Output.ABSENT).reason
    assert reason == "was cancelled: ended by the team's own clean-up"


def test_an_envelope_of_an_earlier_attempt_does_not_explain_the_last() -> None:
    """The second attempt died without a word: its own end is told, and its own output counts."""
    second = JobStatus(JobState.FAILED, Failure.USER_ERROR, "exit code 3", attempt=2)
    for left in (RAISED, GARBLED, GOOD):
        outcome = judge([second], left, Output.ABSENT)
        assert outcome.reason == "failed: UserError: exit code 3"
        assert judge([second], left, Output.PRESENT).state is JobState.SUCCEEDED
    outcome = judge([second], replace(RAISED, attempt=2), Output.ABSENT)
    assert outcome.reason == "failed: ValueError: no"
