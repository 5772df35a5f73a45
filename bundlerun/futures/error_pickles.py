"""Pickles of exceptions that can be loaded again, which is tried at once.

Many classes of exceptions pickle well and fail, or come back as something else, when they are
loaded: their ``__init__`` takes other arguments than ``args`` holds. Of such a one, also within
another (a group, an attribute), the pickle has class, args and attributes, of which it is made
without a call of ``__init__``.
"""

from __future__ import annotations

import functools
import io
import pickle
import re
from collections.abc import Sequence
from typing import Any

MOST_BYTES = 4 << 20
"""A larger exception does not travel as itself: outcomes travel in packs."""


def pickled_error(error: BaseException) -> bytes | None:
    """A pickle of ``error`` that is loaded as an exception like it, or None.

    None where there is no such pickle, or only one of more than MOST_BYTES.
    """
    by_parts: dict[int, BaseException] = {}
    # The innermost first: what is within decides whether what is around it can be loaded.
    for each in reversed(_within(error)):
        if not _survives(each, by_parts):
            by_parts[id(each)] = each
    data = _dumped(error, by_parts)
    return data if data is not None and _is_same(data, error) else None


def _within(error: BaseException) -> Sequence[BaseException]:
    """``error`` and the exceptions in it that can be pickled, from the outside in."""
    met: list[BaseException] = []
    _dumped((type(error), error.args, _attributes(error)), {}, met)
    return [error, *met]


def _survives(error: BaseException, by_parts: dict[int, BaseException]) -> bool:
    data = _dumped(error, by_parts)
    return data is not None and _is_same(data, error)


def _dumped(
    value: object, by_parts: dict[int, BaseException], met: list[BaseException] | None = None
) -> bytes | None:
    file = io.BytesIO()
    try:
        _pickler_type()(file, by_parts, met).dump(value)
    except BaseException:  # the reduction is the user's code, which may raise anything
        return None
    return file.getvalue() if file.tell() <= MOST_BYTES else None


@functools.cache
def _pickler_type() -> Any:
    # Made when it is needed: importing bundlerun brings no cloudpickle.
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        """Writes some exceptions by their parts, and notes those that it meets."""

        def __init__(
            self,
            file: io.BytesIO,
            by_parts: dict[int, BaseException],
            met: list[BaseException] | None,
        ) -> None:
            super().__init__(file)
            self._by_parts = by_parts
            self._met = met

        def reducer_override(self, obj: Any) -> Any:
            """As cloudpickle's, but for exceptions."""
            if isinstance(obj, BaseException):
                if self._met is not None:
                    self._met.append(obj)
                if id(obj) in self._by_parts:
                    return from_parts, (type(obj), obj.args, _attributes(obj))
            return super().reducer_override(obj)

    return Pickler


def from_parts(
    kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]
) -> BaseException:
    """The exception of class, args and attributes.

    Pickles name this function.
    """
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _attributes(error: BaseException) -> dict[str, Any]:
    return dict(vars(error))


def _is_same(data: bytes, error: BaseException) -> bool:
    """Whether ``data`` is loaded as an exception like ``error``.

    It must be of the same class, with the same text, args and attributes, as far as these can be
    told by what is shown of them.
    """
    try:
        back = pickle.loads(data)
        return (
            type(back) is type(error) and str(back) == str(error) and _shape(back) == _shape(error)
        )
    except BaseException:  # as above
        return False


def _shape(error: BaseException) -> object:
    return [_shown(arg) for arg in error.args], {
        name: _shown(value) for name, value in vars(error).items()
    }


def _shown(value: object) -> str:
    """What is shown of a value, but for the address that the default shows."""
    return _ADDRESS.sub("", repr(value))


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
