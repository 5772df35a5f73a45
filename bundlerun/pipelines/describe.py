"""The description of a module's pipes, for clients that do not import it.

``python -m bundlerun.pipelines.describe MODULE`` runs where the module can be imported (inside the
image, when it is built), so that clients need not import it. One JSON object on standard output::

    {"module", "python", "platform", "config": {section: {key: a row as in params}},
     "pipes": {"package.module.Class": {"name", "runnable", "description",
       "params": {name: {"type", "class", "default", "required", "significant", "positional",
                         "private", "description", "choice_type"?, "choices"?}}}}}

``config`` has what the configuration classes and tasks of the project's modules take. ``type`` is
str, int, float, bool, date, choice or other; ``default`` is as luigi writes it, null where there is
none. With ``--environment`` there is ``"environment"`` too, the text of ``local_environment``: for
a job without an image that says what the module runs on.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundlerun.errors import BundlerunError
from bundlerun.pipelines.environment import local_environment
from bundlerun.pipelines.imports import modules_of
from bundlerun.pipelines.loader import load_module
from bundlerun.pipelines.overrides import Given


def describe(module: str, root: Path) -> dict[str, Any]:
    """The description of the pipes of ``module`` in the project at ``root``.

    It is the object that the module's docstring shows. Raises BadModule when ``module`` cannot be
    imported.
    """
    from bundlerun.pipelines.override_scope import in_force
    from bundlerun.pipelines.parameters import schema, sections_of
    from bundlerun.pipelines.pipe import Pipe, has_pipe_run

    with in_force(Given()):  # a base image may have a configuration file of luigi
        loaded = load_module(module, root)
    pipes = {}
    for name, found in vars(loaded).items():
        own = isinstance(found, type) and issubclass(found, Pipe) and found.__module__ == module
        if own and found.__qualname__ == name:
            qualified = f"{module}.{name}"
            pipes[qualified] = {
                "name": qualified,
                "runnable": has_pipe_run(found),
                "description": inspect.cleandoc(found.__dict__.get("__doc__") or ""),
                "params": schema(found),
            }
    return {
        "module": module,
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "platform": sysconfig.get_platform(),
        "config": sections_of(modules_of(root, module)),
        "pipes": pipes,
    }


def main(arguments: Sequence[str]) -> int:
    """Describe the module of the ``arguments`` on standard output; the exit code.

    They are ``[--environment] MODULE [PIPE_ROOT]``, the working directory unless given.
    """
    told = arguments[:1] == ["--environment"]
    arguments = arguments[1:] if told else arguments
    if len(arguments) not in (1, 2):
        sys.stderr.write(
            "usage: python -m bundlerun.pipelines.describe [--environment] MODULE [PIPE_ROOT]\n"
        )
        return 2
    root = Path(arguments[1] if len(arguments) == 2 else os.getcwd())
    try:
        # What the module prints while it is imported is not part of the answer.
        with contextlib.redirect_stdout(sys.stderr):
            environment = {"environment": local_environment()} if told else {}
            found = {**describe(arguments[0], root), **environment}
    except BundlerunError as error:
        if error.__cause__ is not None:
            sys.excepthook(type(error.__cause__), error.__cause__, error.__cause__.__traceback__)
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
