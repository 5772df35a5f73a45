"""JSON from elsewhere read field by field, each of the type that it must have.

What is not so is damage, and told as such; any other error is a mistake of ours and stays one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundlerun.errors import IntegrityError


class Fields:
    """The fields of a JSON object.

    Every method raises IntegrityError that begins with ``what``.
    """

    def __init__(self, found: Any, what: str) -> None:
        if not isinstance(found, Mapping):
            raise IntegrityError(f"{what}: {found!r:.80} is not a JSON object")
        self._found = found
        self._what = what

    def wrong(self, key: str) -> IntegrityError:
        """The error for a field that is absent or is not what it must be."""
        if key not in self._found:
            return IntegrityError(f"{self._what}: it lacks {key!r}")
        return IntegrityError(f"{self._what}: its {key!r} is {self._found[key]!r:.80}")

    def any(self, key: str) -> Any:
        """The field, whatever it is."""
        if key not in self._found:
            raise self.wrong(key)
        return self._found[key]

    def text(self, key: str) -> str:
        """A text."""
        found = self._found.get(key)
        if not isinstance(found, str):
            raise self.wrong(key)
        return found

    def text_or_none(self, key: str) -> str | None:
        """A text, None where there is none."""
        return None if self._found.get(key) is None else self.text(key)

    def number_or_none(self, key: str) -> float | None:
        """A number, None where there is none."""
        found = self._found.get(key)
        if found is None or type(found) in (int, float):
            return found
        raise self.wrong(key)

    def flag(self, key: str) -> bool:
        """True or false."""
        found = self._found.get(key)
        if not isinstance(found, bool):
            raise self.wrong(key)
        return found

    def texts(self, key: str) -> dict[str, str]:
        """An object of texts."""
        found = self._found.get(key)
        if not isinstance(found, Mapping):
            raise self.wrong(key)
        if not all(isinstance(text, str) for pair in found.items() for text in pair):
            raise self.wrong(key)
        return dict(found)

    def texts_or_none(self, key: str) -> dict[str, str] | None:
        """An object of texts, None where there is none."""
        return None if self._found.get(key) is None else self.texts(key)

    def items(self, key: str) -> list[Any]:
        """A list of whatever."""
        found = self._found.get(key)
        if not isinstance(found, list):
            raise self.wrong(key)
        return found

    def rows(self, key: str, length: int) -> list[list[str]]:
        """Lists of ``length`` texts each; none where there is no such field."""
        found = self._found.get(key, [])
        if not isinstance(found, list):
            raise self.wrong(key)
        for row in found:
            if not isinstance(row, list) or len(row) != length:
                raise self.wrong(key)
            if not all(isinstance(text, str) for text in row):
                raise self.wrong(key)
        return found

    def fields_or_none(self, key: str) -> Fields | None:
        """An object within, None where there is none."""
        found = self._found.get(key)
        return None if found is None else Fields(found, f"{self._what}: its {key!r}")
