"""A process that is started for a while is never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from bundlerun.child_processes import client_process

SIGNALLED_IN_POPEN = """
import os
import signal
import subprocess
import sys

from bundlerun.child_processes import client_process


class Popen(subprocess.Popen):
    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        print(self.pid, flush=True)
        os.kill(os.getpid(), SIGN)


SIGN = int(sys.argv[1])
signal.signal(SIGN, signal.default_int_handler)
subprocess.Popen = Popen
with client_process(["sleep", "600"], stdout=subprocess.DEVNULL):
    print("begun")
"""


@pytest.mark.heavy
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_moment_of_the_start_leaves_no_process(sign: signal.Signals) -> None:
    """It has begun by then, and nobody has it yet; it is told to end and waited for."""
    command = [sys.executable, "-c", SIGNALLED_IN_POPEN, str(int(sign))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
    (pid,) = done.stdout.split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_an_error_in_the_block_ends_the_process() -> None:
    """It has ended when the error is out."""
    with pytest.raises(ValueError, match="enough"), client_process(["sleep", "600"]) as process:
        raise ValueError("enough")
    assert process.returncode == -signal.SIGTERM


def test_a_process_that_ends_by_itself_is_waited_for() -> None:
    """Its output is read before that."""
    with client_process(["echo", "done"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "done\n"
    assert process.returncode == 0
