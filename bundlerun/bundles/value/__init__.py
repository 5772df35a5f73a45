"""The value and its nodes: the door to the other modules of this folder.

A value is frozen into a root, an object named by its digest that names the rest; the root holds no
location. ``kinds`` is the table of what can be kept, ``nodes`` does the cutting.
"""

from __future__ import annotations

from bundlerun.bundles.paths import check_relative_path
from bundlerun.bundles.storage import DirectoryEntry, Sink, Source
from bundlerun.bundles.value.decode import decode_value
from bundlerun.bundles.value.encode import encode_value
from bundlerun.bundles.value.lost_paths import LostPaths
from bundlerun.bundles.value.outline import outline
from bundlerun.bundles.value.select import Picked, pick
from bundlerun.bundles.value.view import View, view
from bundlerun.bundles.value.walk import links

__all__ = [
    "DirectoryEntry",
    "LostPaths",
    "Picked",
    "Sink",
    "Source",
    "View",
    "check_relative_path",
    "encode_value",
    "links",
    "outline",
    "pick",
    "decode_value",
    "view",
]
