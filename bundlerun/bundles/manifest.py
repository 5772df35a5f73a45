"""The value and its nodes: the door to what the modules beside this one do.

A value is frozen into a root, an object named by its digest that names the rest; the root holds no
location. ``terms`` has the grammar, ``nodes`` the cutting, ``codecs`` and ``arrays`` the leaves.
"""

from __future__ import annotations

from bundlerun.bundles.freezing import freeze
from bundlerun.bundles.lost_paths import LostPaths
from bundlerun.bundles.outlining import outline
from bundlerun.bundles.paths import check_relative_path
from bundlerun.bundles.picking import Picked, pick
from bundlerun.bundles.places import DirectoryEntry, Sink, Source
from bundlerun.bundles.thawing import thaw
from bundlerun.bundles.viewing import View, view
from bundlerun.bundles.walking import links

__all__ = [
    "DirectoryEntry",
    "LostPaths",
    "Picked",
    "Sink",
    "Source",
    "View",
    "check_relative_path",
    "freeze",
    "links",
    "outline",
    "pick",
    "thaw",
    "view",
]
