"""The memory of this store of the images that were made with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bundlerun.bundles.digest import canonical_json
from bundlerun.store.database import Database

_PUSHED = "pushed "
"""The beginning of rows of images without pipes: no image's name has a space."""


class NotedImages:
    """Images by name.

    By them a run finds the pipeline's source again, and a machine without an engine can name the
    image in a job.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, name: str, image: Mapping[str, Any]) -> None:
        """Keep ``image``, JSON, under the image's name, over what was kept of it."""
        with self._database.writing() as tx:
            tx.execute(
                "INSERT OR REPLACE INTO images (name, json) VALUES (?, ?)",
                (name, canonical_json(dict(image)).decode()),
            )

    def names(self) -> list[str]:
        """The names of all images with pipes that are noted, sorted."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT name FROM images ORDER BY name").fetchall()
        return [str(row[0]) for row in rows if not str(row[0]).startswith(_PUSHED)]

    def save_pushed(self, name: str, registry: str, image: Mapping[str, Any]) -> None:
        """Keep what the image ``name``, which names its content, is in ``registry``."""
        self.save(f"{_PUSHED}{registry} {name}", image)

    def find_pushed(self, name: str, registry: str) -> dict[str, Any] | None:
        """The image ``name`` as it is in ``registry``; None where no push is known."""
        return self.find(f"{_PUSHED}{registry} {name}")

    def find(self, name: str) -> dict[str, Any] | None:
        """The kept facts on the image ``name``, or None."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT json FROM images WHERE name = ?", (name,)).fetchone()
        found: dict[str, Any] | None = None if row is None else json.loads(row[0])
        return found
