"""The process that works through items: it alone runs the user's code.

Its supervisor (``supervised``) sends it, by a pipe, what it must know, the function, and then item
after item; it answers, by another, when the function is loaded, and with an outcome for each item.
Nothing but plain bytes comes back, so the supervisor, which has the run's key, unpickles nothing.
What the supervisor sends it has unsealed, so the pickles in it are the run's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundlerun.errors import InfraError, IntegrityError, RemoteError, RunFailed
from bundlerun.futures.codec import Codec
from bundlerun.futures.outcome import Outcome, raised_by, unreturnable
from bundlerun.futures.payload import load_function
from bundlerun.progress import Lines
from bundlerun.runs.calls.frames import WHERE, read_frame, requested, write_frame
from bundlerun.runs.worker import open_job_remote

_NOT_ITS_OWN = (RemoteError, IntegrityError)
"""What the remote and the way to it raise: no item did that."""

_C = ctypes.CDLL(None)

_PR_SET_PDEATHSIG = 1  # prctl(2)
_OOM_FIRST = "1000"  # proc(5): of this control group the kernel kills this process first


def main() -> None:
    """Serve the supervisor on the two descriptors that the arguments name."""
    requests, replies = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (requests, replies):
        os.set_inheritable(descriptor, False)
    # The user's code may read them.
    del sys.argv[1:]
    # A crash says where it was, and so does an item that is late.
    faulthandler.enable()
    faulthandler.register(WHERE)
    told = json.loads(read_frame(requests) or b"")
    _die_with(told["parent"])
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_FIRST)
    os.environ["BUNDLERUN_RUN"] = told["run_id"]
    folder, staging = Path(told["folder"]), told["staging"]
    remote = open_job_remote(
        told["remote"], None if staging is None else Path(staging), Lines(_say)
    )
    codec = Codec(remote, folder)
    try:
        func = load_function(read_frame(requests) or b"", folder / "sources", codec)
    except RunFailed as error:
        _say(error.evidence)
        failed = Outcome(0, failure=type(error).__name__, reason=str(error))
        write_frame(replies, failed.to_bytes())
    except BaseException as error:  # the user's modules are imported
        write_frame(replies, Outcome(0, raised=raised_by(error)).to_bytes())
    else:
        write_frame(replies, b"")
        _serve(requests, replies, func, codec)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _serve(requests: int, replies: int, func: Callable[..., Any], codec: Codec) -> None:
    here = os.getpid()
    while (frame := read_frame(requests)) is not None:
        index, attempt, item = requested(frame)
        os.environ["BUNDLERUN_INDEX"], os.environ["BUNDLERUN_ATTEMPT"] = str(index), str(attempt)
        outcome = _outcome(index, attempt, item, func, codec)
        _flush()
        if os.getpid() != here:
            # The function forked, and its child came back from it too: one of them answers.
            os._exit(1)
        write_frame(replies, outcome.to_bytes())


def _outcome(
    index: int, attempt: int, item: bytes, func: Callable[..., Any], codec: Codec
) -> Outcome:
    started_s, children = time.time(), _of_children()
    _reset_peak()
    ended = _carried_out(item, func, codec)
    grown = _of_children()
    return Outcome(
        index,
        attempt,
        **ended,
        started_s=started_s,
        finished_s=time.time(),
        peak_memory_mib=max(_peak_mib(), grown if grown > children else 0.0),
        machine=socket.gethostname(),
    )


def _carried_out(item: bytes, func: Callable[..., Any], codec: Codec) -> dict[str, Any]:
    """The end of an item, as fields of an outcome."""
    try:
        arguments = codec.decode(item, trusted=True)
    except _NOT_ITS_OWN as error:
        return _undone(f"its arguments were not read: {error}")
    except BaseException as error:  # a pickle runs code of the user's
        return {"raised": raised_by(error)}
    try:
        value = func(*arguments)
    except BaseException as error:  # whatever ends an item is its end, sys.exit included
        return {"raised": raised_by(error)}
    return _encoded(value, codec)


def _encoded(value: object, codec: Codec) -> dict[str, Any]:
    """What a function returned, as the fields of an outcome."""
    try:
        return {"value": codec.encode(value)}
    except _NOT_ITS_OWN as error:
        return _undone(f"its result was not sent: {error}")
    except Exception as error:
        return {"raised": raised_by(unreturnable(value, error))}
    except BaseException as error:  # a reduction of the user's own may raise anything
        return {"raised": raised_by(error)}


def _undone(reason: str) -> dict[str, Any]:
    return {"failure": InfraError.__name__, "reason": reason}


def _flush() -> None:
    """Let go of what Python and C libraries hold of the item's output."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the item may have put anything in its place
            stream.flush()
    with contextlib.suppress(OSError, AttributeError):
        _C.fflush(None)


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its supervisor has ended (prctl(2))."""
    with contextlib.suppress(OSError, AttributeError):
        _C.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _reset_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # proc(5): resets the peak resident set


def _peak_mib() -> float:
    """The largest resident set since ``_reset_peak``, else since the process began."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    # In KiB on Linux (getrusage(2)).
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _of_children() -> float:
    """The largest resident set of a child that has ended, MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    main()
