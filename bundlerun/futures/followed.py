"""What a followed run is to its futures: jobs to look at, and items that ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bundlerun.backends.base import Backend
from bundlerun.backends.job import JobHandle, JobStatus


@dataclass(frozen=True)
class Ended:
    """What became of one item, decoded.

    That is its ``value``, unless ``error`` is given or it was ``cancelled``.
    ``stdout`` and ``stderr`` are the last part of what the item wrote; ``attempts`` counts from 1,
    and None says that nobody counted; memory is in MiB (2**20 bytes), None where it is not known.
    """

    index: int
    value: Any = None
    error: BaseException | None = None
    cancelled: bool = False
    stdout: str = ""
    stderr: str = ""
    attempts: int | None = None
    peak_memory_mib: float | None = None


class OpenItems(Protocol):
    """The items whose end the caller has not been told yet."""

    def __contains__(self, index: object, /) -> bool:
        """Whether the item is one of them."""

    def __len__(self) -> int:
        """How many there are."""

    def first(self) -> int | None:
        """The lowest of them; None: there are none."""


class Followed(Protocol):
    """One run, as a poller follows it.

    All but ``cancel`` and ``output`` are called by the poller's thread alone.
    What was told already stands in ``OpenItems`` and is remembered nowhere else: a process that is
    forked goes on from what its own futures know.
    """

    @property
    def backend(self) -> Backend:
        """The backend of the jobs.

        Runs of one and the same object share a poll: see ``backends.open.shared_backend``.
        """

    def handles(self) -> Sequence[JobHandle]:
        """The jobs to look at.

        Where there are none after ``seen``, the run is over.
        """

    def seen(self, statuses: Mapping[str, JobStatus], open: OpenItems) -> Iterable[Ended]:
        """The items that ended by now, each as it is found.

        ``statuses`` is one look at ``handles``, by handle id. What is not open is passed over.
        An error of ``backends.poll.TRANSIENT`` is a stumble, after which the run is looked at
        again; any other ends the following of this run.
        """

    def cancel(self, index: int | None) -> bool:
        """End the item, or with None the whole run.

        False: that is too late, or cannot be done without ending others. Raises as
        ``Backend.cancel``.
        """

    def output(self) -> Any:
        """The bundle of all results, None where none was asked for.

        Called when all items have succeeded and the run is over.
        """


class Listener(Protocol):
    """Who is told what became of a followed run."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def open(self) -> OpenItems:
        """The items that have not ended, as far as this process was told."""

    def looked(self, statuses: Mapping[str, JobStatus]) -> None:
        """What the backend says now."""

    def ended(self, ended: Ended) -> None:
        """One item has ended."""

    def over(self, error: BaseException | None) -> None:
        """Nothing more will come; ``error`` says why, where the run itself may go on."""

    def forked(self) -> None:
        """Go on in a forked process.

        Locks that a thread of the first one held are of no use there.
        """
