"""From what a function imports to what an image must install.

That are the distributions that are installed here, at their exact versions: asked of their metadata
alone, without any network.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bundlerun.errors import UsageError
from bundlerun.images.requirements import Requirements

ORIGIN = "what is imported, as it is installed here"
"""What ``Requirements.origin`` is of those that were found here."""

_OURS = frozenset({"bundlerun", "cloudpickle"})
"""The distributions that go into every image, as they are installed here."""

_NAME = re.compile(r"[-_.]+")
_CREDENTIALS = re.compile(r"://[^/\s@]+@")


@dataclass(frozen=True)
class Inferred:
    """What imports need.

    ``requirements`` has a line for each distribution; ``missing`` are the names that are imported
    and installed nowhere here; ``public`` the distributions of a local version (1.0+cu118), each
    with that version, whose image gets the version that is published.
    """

    requirements: Requirements
    missing: tuple[str, ...] = ()
    public: tuple[str, ...] = ()


def installed_requirements(imports: Iterable[str]) -> Inferred:
    """The installed distributions that have the top-level names ``imports``.

    They are of no project that travels itself. The standard library and bundlerun are left out; a
    name that several distributions share (``google``) brings all of them. Raises UsageError for a
    distribution that is installed as editable or from a path of this machine.
    """
    wanted = {name for name in imports if name not in sys.stdlib_module_names and name not in _OURS}
    owners = _owners(wanted) if wanted else {}
    lines: dict[str, str] = {}
    public: list[str] = []
    for name, found in sorted(owners.items()):
        for each in found:
            line = _line(each, name)
            lines[line.partition("==")[0]] = line
            if "+" in each.version and "==" in line:
                public.append(f"{each.metadata['Name']} {each.version}")
    return Inferred(
        Requirements(lines=tuple(lines[key] for key in sorted(lines)), origin=ORIGIN),
        missing=tuple(sorted(wanted - owners.keys())),
        public=tuple(dict.fromkeys(public)),
    )


def _owners(wanted: set[str]) -> dict[str, list[metadata.Distribution]]:
    """The distributions that have each of ``wanted``, without names that none has."""
    found: dict[str, dict[str, metadata.Distribution]] = {}
    for each in metadata.distributions():
        # Names last: to parse the metadata of every distribution takes half a second.
        for top in wanted & set(_top_level(each)):
            name = each.metadata["Name"]
            if name and canonical(name) not in _OURS:
                # The first on the path is what an import finds.
                found.setdefault(top, {}).setdefault(canonical(name), each)
    return {top: list(each.values()) for top, each in found.items()}


def canonical(name: str) -> str:
    """The name of a distribution as all spellings of it have it (PEP 503)."""
    return _NAME.sub("-", name).lower()


def _top_level(each: metadata.Distribution) -> Iterator[str]:
    """The names that ``each`` can be imported by.

    ``metadata.packages_distributions`` knows wheels without a top_level.txt from Python 3.11 on
    alone.
    """
    declared = (each.read_text("top_level.txt") or "").split()
    if declared:
        yield from declared
        return
    # RECORD is CSV, and what is imported has no name that CSV would quote.
    for line in (each.read_text("RECORD") or "").splitlines():
        first, slash, _ = line.partition(",")[0].partition("/")
        module = first if slash else inspect.getmodulename(first)
        if module and module.isidentifier():
            yield module


def _line(each: metadata.Distribution, name: str) -> str:
    """The requirement (PEP 508) that installs ``each`` elsewhere.

    ``name`` is what is imported.
    """
    called = each.metadata["Name"]
    address = _direct_url(each)
    url = str(address.get("url", ""))
    if not address or (url.startswith("file:") and _installer(each) == "conda"):
        # Packages of conda's name the folder in which they were built, on a machine of conda's.
        version, _, _ = each.version.partition("+")
        return f"{called}=={version}"
    if url.startswith("file:"):
        how = "as editable from" if address.get("dir_info", {}).get("editable") else "from"
        raise UsageError(
            f"{name} is imported, and {called} is installed {how} {unquote(urlsplit(url).path)},"
            " a path of this machine, which an image cannot have",
            hint=f"pip install {called}=={each.version}, or requirements=[...] that has a release",
        )
    if _CREDENTIALS.search(url):
        raise UsageError(
            f"{called} is installed from a URL with credentials, which would stay in the image",
            hint="requirements=[...] with a URL that has none",
        )
    vcs = address.get("vcs_info")
    below = f"#subdirectory={address['subdirectory']}" if "subdirectory" in address else ""
    if vcs:
        return f"{called} @ {vcs['vcs']}+{url}@{vcs['commit_id']}{below}"
    return f"{called} @ {url}{below}"


def _direct_url(each: metadata.Distribution) -> Mapping[str, Any]:
    """Where ``each`` was installed from instead of an index (PEP 610)."""
    text = each.read_text("direct_url.json")
    if text is None:
        return _egg_link(each)
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _egg_link(each: metadata.Distribution) -> Mapping[str, Any]:
    """Where ``setup.py develop`` left the metadata: in the project, without PEP 610."""
    place = each.locate_file("")
    folder = os.path.basename(os.path.normpath(str(place)))
    if folder in ("site-packages", "dist-packages") or (each.read_text("INSTALLER") or "").strip():
        return {}
    return {"url": Path(str(place)).absolute().as_uri(), "dir_info": {"editable": True}}


def _installer(each: metadata.Distribution) -> str:
    return (each.read_text("INSTALLER") or "").strip()
