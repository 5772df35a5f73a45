"""What items write: passed on to the job's own log, and the end of each kept."""

from __future__ import annotations

from collections.abc import Sequence

from bundlerun.runs.capture import Joined, WholeLines
from bundlerun.runs.envelope import TAIL_BYTES
from bundlerun.runs.masking import hidden_pieces

STDOUT, STDERR = 1, 2


def label(index: int) -> str:
    """The beginning of each line of an item where several share a log."""
    return f"[{index}] "


class ItemLog:
    """The two streams of one item after the other, without the texts ``hidden``.

    ``log`` is the descriptor that the job's own log is read from; whole lines go there, each with
    the item that it is of where ``labelled``.
    """

    def __init__(self, hidden: Sequence[str], log: int = STDOUT, *, labelled: bool = False) -> None:
        self._is_labelled = labelled
        self._hidden = hidden_pieces(hidden)
        self._joined = Joined(log)
        self._lines = {stream: WholeLines(self._hidden) for stream in (STDOUT, STDERR)}
        self._kept = {stream: bytearray() for stream in (STDOUT, STDERR)}

    @property
    def held(self) -> bool:
        """Whether text waits for its newline."""
        return any(lines.held for lines in self._lines.values())

    def begin(self, index: int) -> None:
        """What is written from now on is of the item ``index``."""
        if self._is_labelled:
            self._joined.label = label(index).encode()

    def write(self, stream: int, data: bytes) -> None:
        """Take what the present item wrote to a stream."""
        self._pass_on(stream, self._lines[stream].of(data))

    def pass_on(self) -> None:
        """Pass on what has waited long enough for its newline."""
        for stream, lines in self._lines.items():
            self._pass_on(stream, lines.stale())

    def taken(self) -> tuple[str, str]:
        """The ends of stdout and stderr of the item that ends here."""
        for stream, lines in self._lines.items():
            self._pass_on(stream, lines.rest())
        self._joined.end_line()
        self._joined.label = b""
        found = [bytes(kept).decode("utf-8", errors="replace") for kept in self._kept.values()]
        for kept in self._kept.values():
            kept.clear()
        return found[0], found[1]

    def _pass_on(self, stream: int, data: bytes) -> None:
        if data:
            self._joined.write(stream, data)
            self._kept[stream] += data
            del self._kept[stream][:-TAIL_BYTES]
