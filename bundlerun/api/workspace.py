"""A workspace: the settings, a store, a context, and every verb on them."""

from __future__ import annotations

from bundlerun.api.care import Care
from bundlerun.api.checkup import Check, checkup
from bundlerun.api.work import Work


class Workspace(Work, Care):
    """All verbs. Made by ``bundlerun.open``, or from the settings by ``bundlerun.add`` and others.

    ``progress`` may be set to whatever shows what goes on. Safe to use from several threads.
    """

    def doctor(self) -> list[Check]:
        """What works here and what does not, each with the command that mends it."""
        return checkup(self)
