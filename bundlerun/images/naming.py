"""What a pipeline's image is called."""

from __future__ import annotations

import re
from hashlib import sha256

from bundlerun.errors import BadModule, SettingsError
from bundlerun.settings import ImageSettings

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
# The grammar of the distribution project's reference package: one component of a repository path.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_ADDRESS = re.compile(rf"[A-Za-z0-9.-]+(?::[0-9]+)?(?:/{_COMPONENT})*")

ECR = "ecr"
"""The registry setting that means the AWS account's own; ``ecr@HOST`` reaches it through HOST."""


def image_name(module: str, settings: ImageSettings | None = None) -> str:
    """``[registry/][prefix/]bundlerun-pkg-module`` for the module ``pkg.module``.

    Repository names have no capitals and no leading underscores: a module that has gets a name
    that says so by eight digits of its hash, so that two modules never share an image. ECR's
    address is known to AWS alone and is put before the name when the image is published.

    Raises BadModule for what is no module's name, SettingsError for a prefix or registry that no
    image can have.
    """
    if not _MODULE.fullmatch(module):
        raise BadModule(f"{module!r} is no module's name, such as pkg.module")
    plain = module.replace(".", "-")
    name = "bundlerun-" + re.sub(r"_*-_*", "-", re.sub(r"___+", "__", plain.lower().strip("_")))
    if name != f"bundlerun-{plain}":
        name = f"{name.rstrip('-')}-{sha256(module.encode()).hexdigest()[:8]}"
    prefix, registry = (settings.repository_prefix, settings.registry) if settings else (None, None)
    if prefix:
        if not _PATH.fullmatch(prefix):
            raise SettingsError(
                f"the repository prefix {prefix!r} cannot stand in an image's name: small letters, "
                "digits, and . _ - between them"
            )
        name = f"{prefix}/{name}"
    if registry and not is_ecr(registry):
        name = f"{checked_registry(registry)}/{name}"
    return name


def is_ecr(registry: str) -> bool:
    """Whether the registry setting means the AWS account's own."""
    return registry == ECR or registry.startswith(f"{ECR}@")


def checked_registry(address: str) -> str:
    """``address`` when it is ``host[:port][/path]``, else SettingsError."""
    host = address.partition("/")[0]
    if not _ADDRESS.fullmatch(address) or not ("." in host or ":" in host or host == "localhost"):
        raise SettingsError(
            f"the registry {address!r} is no address such as registry.example.org:5000/team"
        )
    return address
