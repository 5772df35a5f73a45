"""The masking of hidden texts, in what a job writes and in the failure of a pipe."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator, Sequence
from urllib.parse import quote, quote_plus

from bundlerun.errors import BundlerunError, RunFailed
from bundlerun.progress import Progress

HIDDEN = "BUNDLERUN_HIDDEN"
"""The variable with the names of variables whose values a worker must not write."""

LEAST_HIDDEN = 4
"""Characters of the shortest text that is masked."""


def masked(text: str, hidden: Sequence[str]) -> str:
    """``text`` without the texts ``hidden``, and without any line of them.

    What has fewer than ``LEAST_HIDDEN`` characters, and so stands in any text, stays.
    """
    data = mask_pieces(text.encode(errors="surrogateescape"), hidden_pieces(hidden))
    return data.decode(errors="surrogateescape")


def mask_pieces(data: bytes | bytearray, pieces: Sequence[bytes]) -> bytes:
    """``data`` without ``pieces``."""
    for piece in pieces:
        data = data.replace(piece, b"***")
    return bytes(data)


def hidden_pieces(hidden: Sequence[str]) -> list[bytes]:
    """The pieces to mask: the texts and each of their lines, longest first.

    A job writes line by line. Each stands there as it is and as clients quote them in their errors;
    the longest come first, since one may stand in another.
    """
    plain = {piece for text in hidden for piece in (text, *text.splitlines())}
    long = [piece for piece in plain if len(piece) >= LEAST_HIDDEN]
    forms = {form for piece in long for form in _quoted(piece)}
    return [form.encode(errors="surrogateescape") for form in sorted(forms, key=len, reverse=True)]


def _quoted(text: str) -> set[str]:
    """``text`` in an address, in what repr shows of it or of its bytes, and in JSON."""
    data = text.encode(errors="surrogateescape")
    quoted = {quote(data), quote(data, safe=""), quote_plus(data), json.dumps(text)[1:-1]}
    quoted |= {json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], repr(data)[2:-1]}
    return quoted | {text}


@contextlib.contextmanager
def unsaid(hidden: Sequence[str]) -> Iterator[None]:
    """Mask the texts ``hidden`` in an error of ours that leaves the block.

    They may stand in its own text or in that of an error behind it, which a traceback shows too.
    """
    try:
        yield
    except BundlerunError as error:
        whole = "".join(traceback.format_exception(error)) + getattr(error, "evidence", "")
        if masked(whole, hidden) == whole:
            raise
        error.message = masked(error.message, hidden)
        error.args = (error.message,)
        error.hint = error.hint and masked(error.hint, hidden)
        if isinstance(error, RunFailed):
            error.evidence = masked(error.evidence, hidden)
        raise error from None


class MaskedProgress:
    """``progress``, its lines without the texts ``hidden``."""

    def __init__(self, progress: Progress, hidden: Sequence[str]) -> None:
        self._progress = progress
        self._hidden = hidden

    def start(self, what: str, total: int | None, unit: str) -> int:
        """As ``progress`` does."""
        return self._progress.start(masked(what, self._hidden), total, unit)

    def advance(self, bar: int, steps: int) -> None:
        """As ``progress`` does."""
        self._progress.advance(bar, steps)

    def finish(self, bar: int) -> None:
        """As ``progress`` does."""
        self._progress.finish(bar)

    def line(self, text: str) -> None:
        """As ``progress`` does, masked."""
        self._progress.line(masked(text, self._hidden))
