"""The environments of runs: an image, or an interpreter of this machine.

Either way the module is described in the same words, and plans and keys are made of these alone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.backends.base import ImageAt
from bundlerun.backends.open import traits_of
from bundlerun.errors import BadModule, UsageError
from bundlerun.images.described import Described, schema_in
from bundlerun.pipelines.git import git_version
from bundlerun.pipelines.imports import check_names_class
from bundlerun.pipelines.source import Digests, digests_of, source_of
from bundlerun.runs.images import check_pipe, image_of_run, noted_request
from bundlerun.runs.plan import Interpreter, Place

if TYPE_CHECKING:
    from bundlerun.runs.request import RunRequest
    from bundlerun.runs.scope import RunScope


def place_of(request: RunRequest, scope: RunScope, *, build: bool) -> Place:
    """The place where jobs of ``request`` find their code, by their backend's traits.

    With ``build`` an image is made first, where its source changed. Raises as ``image_of_run`` and
    ``described_here``, UsageError where there is nothing to build.
    """
    if traits_of(request.backend).image is not ImageAt.NONE:
        image = image_of_run(request, scope, build=build)
        return Place(image.described, image=image.ref.pullable)
    if build:
        raise UsageError(
            f"a job on {request.backend} runs without an image: there is nothing to build",
            hint="leave out --build",
        )
    noted = noted_request(scope.store, request.module, scope.settings.images)
    root = (Path.cwd() if noted is None else noted.pipe_root).resolve()
    described = described_here(root, request.pipe, scope.store.stats.digests)
    return Place(described, interpreter=Interpreter(sys.executable, str(root)))


def described_here(root: Path, pipe: str, digests: Digests = digests_of) -> Described:
    """The description of the module of ``pipe`` below ``root``, by this interpreter.

    A process of its own imports it. Raises BadModule when the module is not there, cannot be
    imported, or has no such pipe.
    """
    module = pipe.rpartition(".")[0]
    check_names_class(root, pipe)
    source = source_of(root, module, digests=digests)
    command = ("-m", "bundlerun.pipelines.describe", "--environment", module, str(root))
    answer = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    schema = schema_in(answer.stdout)
    if answer.returncode or schema is None:
        said = answer.stderr.strip().rpartition("\n")[2] or f"exit code {answer.returncode}"
        raise BadModule(
            f"{module} below {root} cannot be described: {said}",
            hint=f"python -m bundlerun.pipelines.describe {module} {root}",
        )
    environment = str(schema.pop("environment"))
    git = git_version(root, source.files)
    described = Described(
        module=module,
        schema=schema,
        source=source.digest,
        environment=environment,
        left_out=None,
        pipe_root=str(root),
        commit=git and git[0],
        dirty=bool(git and git[1]),
    )
    check_pipe(described, pipe)
    return described
