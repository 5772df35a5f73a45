"""The jobs of the AWS in a box, carried out without a container.

A job runs until jobs may end. Then what both sides' functions would return is written where that
side's own job would write it: of the item x, x * x. It stands in for the containers, which are
not what is measured: on AWS they are other machines.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cloudpickle

from bundlerun.aws.session import Aws
from bundlerun.futures.codec import Codec
from bundlerun.futures.item_packs import packed
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.sealing import KEY_VARIABLE, Seal, Sealed
from bundlerun.remotes.s3 import S3Remote
from bundlerun.runs.calls.items import read_items
from bundlerun.runs.calls.parts import Part
from bundlerun.runs.calls.sealed_plan import checked_call
from bundlerun.runs.keys import Written, part_key, plan_key
from bundlerun.runs.plan import RunPlan
from bundlerun.sandbox.batch_attempt import Attempt, Exit

AT_ONCE = 4
"""How many jobs write their results at the same time: the server has the same cores."""


@dataclass(frozen=True)
class _Call:
    """A part of a run of bundlerun's, and the values that its items return."""

    remote: S3Remote
    seal: Seal
    part: Part
    values: Mapping[int, bytes]


class Jobs:
    """See the module. AWS's address for them stands in AWS_ENDPOINT_URL."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self._writing = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._calls: dict[tuple[str, ...], _Call] = {}
        self._s3: Any = None

    def run(self, attempt: Attempt) -> Exit:
        """Carry out one attempt of a job, of either side."""
        attempt.running()
        self.may_end.wait()
        with self._writing:
            if "CLOUDKNOT_S3_JOBDEF_KEY" in attempt.environment:
                self._end_cloudknots(attempt)
            else:
                self._end_ours(attempt)
        return Exit(0)

    def _end_cloudknots(self, attempt: Attempt) -> None:
        """As the script that cloudknot makes of its templates/script.template."""
        variables = attempt.environment
        bucket = variables["CLOUDKNOT_JOBS_S3_BUCKET"]
        job_id = attempt.job_id.partition(":")[0]
        below = f"cloudknot.jobs/{variables['CLOUDKNOT_S3_JOBDEF_KEY']}/{job_id}"
        client = self._client()
        body = client.get_object(Bucket=bucket, Key=f"{below}/input.pickle")["Body"].read()
        item = cloudpickle.loads(body)
        if attempt.index is not None:
            item = item[attempt.index]
        key = f"{below}/{attempt.index or 0}/{attempt.number:03}/output.pickle"
        client.put_object(Bucket=bucket, Key=key, Body=cloudpickle.dumps(item * item))

    def _end_ours(self, attempt: Attempt) -> None:
        """As bundlerun's worker, but what all jobs of a part read is read once."""
        with self._lock:
            told = tuple(attempt.container["command"])
            if told not in self._calls:
                self._calls[told] = _call_of(told, Seal.from_hex(attempt.environment[KEY_VARIABLE]))
            call = self._calls[told]
        part, entries = call.part, []
        items = part.items_of(attempt.index or 0)
        for index in items:
            data = Outcome(index, part.attempt, value=call.values[index]).to_bytes()
            entries.append(call.seal.sealed(Sealed.OUTCOME, index, data))
        written = Written(items[0], part.attempt, part.number, len(entries), 0)
        call.remote.put(written.key(part.run_id), packed(entries))

    def _client(self) -> Any:
        import boto3

        with self._lock:
            self._s3 = self._s3 or boto3.client("s3")
            return self._s3


def _call_of(command: tuple[str, ...], seal: Seal) -> _Call:
    """The part that a worker's command line names: ``... worker RUN --part N --remote URL``."""
    given = dict(pairwise(command))
    run_id, number = given["worker"], int(given["--part"])
    remote = S3Remote(given["--remote"], Aws())
    task = checked_call(RunPlan.from_bytes(remote.get(plan_key(run_id)) or b""), seal)
    part = Part.from_sealed(remote.get(part_key(run_id, number)) or b"", seal, run_id, number)
    codec = Codec(remote, Path(mkdtemp(prefix="bench-jobs-")))
    values = {}
    for index, data in read_items(remote, run_id, task.packs, part.all_items, seal):
        assert isinstance(data, bytes), data
        (item,) = codec.decode(data, trusted=True)
        values[index] = codec.encode(item * item)
    return _Call(remote, seal, part, values)
