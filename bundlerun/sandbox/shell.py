"""The sandbox in a shell's environment: the exports of `sandbox up`, and back.

A shell may hold AWS settings of its own. What each variable held is exported with the new value, so
that `sandbox down` can put it back, also from a sandbox that died.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from bundlerun.aws.sandbox_env import ENDPOINT as ENDPOINT
from bundlerun.aws.sandbox_env import LEAVE as LEAVE
from bundlerun.errors import SettingsError

EXPORTED = "BUNDLERUN_SANDBOX_EXPORTED"
"""The variable with JSON of the exports: each value, and the one before, or null."""


def exports(env: Mapping[str, str], shell: Mapping[str, str]) -> dict[str, str]:
    """The variables ``env`` and EXPORTED, for a shell with the variables ``shell``.

    Raises SettingsError where its EXPORTED cannot be read.
    """
    earlier = _exported(shell)
    exported: dict[str, tuple[str, str | None]] = {}
    for name, value in env.items():
        held = shell.get(name)
        was, before = earlier.get(name, (None, None))
        # After a second `up` the first one's values are not the shell's own.
        exported[name] = (value, before if held is not None and held == was else held)
    return {**env, EXPORTED: json.dumps(exported, separators=(",", ":"))}


def restored(shell: Mapping[str, str]) -> dict[str, str | None]:
    """The variables exported by `up` to this shell, with the values they get back.

    None: it is unset. A variable that was changed since then stays as it is. Raises SettingsError
    where EXPORTED cannot be read.
    """
    if EXPORTED not in shell:
        return {}
    found = _exported(shell)
    back = {name: before for name, (value, before) in found.items() if shell.get(name) == value}
    return {**back, EXPORTED: None}


def _exported(shell: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    try:
        found = json.loads(shell.get(EXPORTED, "{}"))
        return {str(name): (str(value), before) for name, (value, before) in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"the variable {EXPORTED} was changed since `sandbox up` exported it",
            hint=f"unset {EXPORTED}",
        ) from error
