"""The Dockerfile of an image: of a pipeline's module, or of an environment alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from textwrap import dedent

from bundlerun.images.layout import CODE, SCRIPT

SCHEMA = "/bundlerun/schema.json"
"""The file with the output of ``bundlerun.pipelines.describe`` in a build."""

HOME = "/home/bundlerun"
VENV = "/bundlerun/venv"
PIP_SECRET = "pip.conf"

# Users that are not in the image's /etc/passwd come with `docker run --user`: what programs ask of
# a user's surroundings is answered by variables, and points to where any user may write.
_SURROUNDINGS = f"""\
ENV HOME={HOME} USER=bundlerun LOGNAME=bundlerun \\
    MPLCONFIGDIR={HOME}/.config/matplotlib XDG_CACHE_HOME={HOME}/.cache \\
    PYTHONUNBUFFERED=1 PYTHONPATH={CODE} \\
    PATH={VENV}/bin:$PATH
RUN mkdir -p /bundlerun {HOME}/.config/matplotlib {HOME}/.cache \\
 && touch {SCHEMA} && chown -R 1000:1000 {HOME} {SCHEMA} && chmod -R 0777 {HOME} \\
 && (grep -q '^[^:]*:[^:]*:1000:' /etc/passwd \\
     || echo 'bundlerun:x:1000:1000::{HOME}:/bin/sh' >> /etc/passwd)
WORKDIR {HOME}
"""

_APT_LEFT = "/var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log"

# What nothing imports: headers to compile against pyarrow, and the test suites of the two largest
# packages. (numpy's and scipy's own modules import from their test folders: those stay.)
_PRUNE = f"""\
 && cd {VENV}/lib/python3*/site-packages \\
 && rm -rf pyarrow/include pyarrow/src pyarrow/tests pandas/tests
"""

# Of what a build alone needs nothing stays: what came with git goes with it, in the same layer.
_GIT = """\
 && dpkg-query -W -f '${binary:Package}\\n' | sort > /tmp/packages \\
 && apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\
    ca-certificates git \\
"""
_NO_GIT = f"""\
 && dpkg-query -W -f '${{binary:Package}}\\n' | sort | comm -13 /tmp/packages - \\
    | xargs -r apt-get purge -y \\
 && rm -rf /tmp/packages {_APT_LEFT} \\
"""

_PIP = (
    "python -m pip install --no-cache-dir --no-input --progress-bar=off --disable-pip-version-check"
)


class Index(Enum):
    """How the client's package index (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL) reaches pip.

    ARGUMENTS are build arguments, which the image's history shows; SECRET is a BuildKit secret,
    which leaves no trace.
    """

    DEFAULT = "default"
    ARGUMENTS = "arguments"
    SECRET = "secret"


@dataclass(frozen=True)
class Ingredients:
    """The variable parts of a Dockerfile.

    ``module`` is that of the pipes, None for an image that has none; ``packages`` are Debian's;
    ``wheel`` is the file name of bundlerun's; ``constrained`` and ``locked``:
    requirements/constraints.txt and locked.txt (lines with hashes) are there; ``git``: some
    requirement comes from a git repository. ``python`` is the X.Y that the base must have, None
    for any; ``script`` the file name of the program that the image is for.
    """

    module: str | None
    base: str
    packages: tuple[str, ...]
    wheel: str
    constrained: bool = False
    locked: bool = False
    git: bool = False
    python: str | None = None
    script: str | None = None


def dockerfile(ingredients: Ingredients, index: Index = Index.DEFAULT) -> str:
    """The text of the Dockerfile.

    It has no ``# syntax`` line: that would fetch a frontend from a public registry.
    """
    return "".join(
        (
            f"FROM {ingredients.base}\nUSER root\n",
            _python(ingredients.python),
            _system(ingredients.packages),
            _SURROUNDINGS,
            _dependencies(ingredients, index),
            f"COPY wheel/ /bundlerun/wheel/\n"
            f"RUN {_PIP} --no-deps --no-index /bundlerun/wheel/{ingredients.wheel}\n",
            _CLOSING,
            _code(ingredients),
        )
    )


OTHER_PYTHON = "the base image has Python"


def _python(wanted: str | None) -> str:
    """The step that ends the build where the base has another Python than ``wanted``."""
    if wanted is None:
        return ""
    return (
        'RUN python3 -c \'import sys; found = "%d.%d" % sys.version_info[:2];'
        f' sys.exit(found != "{wanted}" and "{OTHER_PYTHON} %s, not {wanted}" % found)\'\n'
    )


def _system(packages: tuple[str, ...]) -> str:
    if not packages:
        return ""
    return (
        "RUN apt-get update \\\n"
        " && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n"
        f"    {' '.join(packages)} \\\n"
        f" && rm -rf {_APT_LEFT}\n"
    )


def _dependencies(ingredients: Ingredients, index: Index) -> str:
    place = "/bundlerun/requirements"
    arguments = mount = environment = locked = ""
    git, no_git = (_GIT, _NO_GIT) if ingredients.git else ("", "")
    if index is Index.ARGUMENTS:
        arguments = "ARG PIP_INDEX_URL\nARG PIP_EXTRA_INDEX_URL\n"
    if index is Index.SECRET:
        mount = f"--mount=type=secret,id={PIP_SECRET},target=/run/secrets/{PIP_SECRET} "
        environment = f" && export PIP_CONFIG_FILE=/run/secrets/{PIP_SECRET} \\\n"
    if ingredients.locked:
        # pip wants hashes of all or of none. The locked ones go in alone, verified; the call below
        # then finds them in place and adds what bundlerun needs besides them.
        locked = f" && {_PIP} --no-deps --require-hashes -r {place}/locked.txt \\\n"
    constraints = f" -c {place}/constraints.txt" if ingredients.constrained else ""
    return (
        f"COPY requirements/ {place}/\n"
        f"{arguments}"
        f"RUN {mount}python3 -m venv {VENV} \\\n"
        f"{environment}"
        f"{git}"
        f"{locked}"
        # One call, so that no requirement of the pipeline silently undoes one of bundlerun's. The
        # pipeline's come first: where one is not available, that shows before all else is fetched.
        f" && {_PIP} -r {place}/pipeline.txt -r {place}/bundlerun.txt{constraints} \\\n"
        f"{no_git}"
        f"{_PRUNE}"
    )


_CLOSING = """\
USER 1000:1000
ENTRYPOINT []
CMD ["bundlerun", "--help"]
"""


def _code(ingredients: Ingredients) -> str:
    if ingredients.script is not None:
        return f"ENV {SCRIPT}={CODE}/{ingredients.script}\nCOPY code/ {CODE}/\n"
    if ingredients.module is None:
        return ""
    # Opened again: what the module's import left at home (matplotlib's list of fonts, say) is for
    # every user.
    return dedent(
        f"""\
        COPY code/ {CODE}/
        RUN python -m bundlerun.pipelines.describe {ingredients.module} {CODE} > {SCHEMA} \\
         && chmod -R a+rwX {HOME}
        """
    )
