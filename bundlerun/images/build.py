"""Images on the local engine: built from a recipe, and found by name.

A build leaves an image without labels; its schema is read out, and a second, empty step puts the
labels on. So what changes with every edit never stands in the way of the layer cache.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from bundlerun.docker_engine import engine
from bundlerun.errors import BuildFailed, Conflict, EngineError
from bundlerun.images import image as names
from bundlerun.images.builders import (
    BuildSurroundings,
    build_classic,
    build_with_buildkit,
    buildkit_command,
)
from bundlerun.images.described import JOB_PROTOCOL, schema_in
from bundlerun.images.dockerfile import SCHEMA
from bundlerun.images.image import ImageRef
from bundlerun.images.recipe import Code, Recipe
from bundlerun.progress import SILENT, Progress

KEPT_CONTENTS = 3
"""The contents of one image that stay on the engine after a build, newest first."""

_LEAVING_S = 5.0
"""So long after its results a job's container may still be there."""

_BEING_MADE_S = 600
"""No build takes so long from its image to the image's name."""


KEPT_ENVIRONMENTS = 10
"""The images of functions that are kept: the projects of a user share their name."""


def build(
    recipe: Recipe,
    *,
    progress: Progress = SILENT,
    environ: Mapping[str, str] | None = None,
    no_cache: bool = False,
) -> ImageRef:
    """The image of ``recipe``, tagged by its content, and with pipes ``latest`` too.

    An image of the same content is not built again, unless ``no_cache`` asks for it (no layer is
    reused either); when only git's word on it changed, it gets new labels. ``environ`` (the
    process's own unless given) names proxies and package indexes. Raises EngineError without an
    engine, BuildFailed with the step and its last lines.
    """
    with engine() as client:
        there = _inspected(client, f"{recipe.name}:{recipe.tag}")
        labels = _labels(recipe)
        if there is not None and not no_cache:
            old = _labels_of(there)
            if all(old.get(name) == value for name, value in labels.items()):
                return _named(client, recipe, there)
            kept = (names.OCI_CREATED, names.SCHEMA)
            labels |= {name: old[name] for name in kept if name in old}
            below = _below(client, there)
        else:
            bar = progress.start(f"building {recipe.name}", None, "steps")
            try:
                below = _built(client, recipe, environ, progress, no_cache)
            finally:
                progress.finish(bar)
            # To the microsecond: which contents are old is told by it, and builds can be quick.
            created = datetime.now(timezone.utc).isoformat(timespec="microseconds")
            labels[names.OCI_CREATED] = created
        image = _labelled(client, recipe, below, labels)
        _remove_old(client, recipe)
        return _named(client, recipe, image)


def find_image(name: str) -> ImageRef | None:
    """The image ``name`` (tag ``latest`` unless told) on the local engine, or None.

    Where it was pushed, the result carries the digest and the address that it was pushed to. Raises
    EngineError without an engine.
    """
    with engine() as client:
        found = _inspected(client, name)
        if found is None:
            return None
        repository = _split(name)[0]
        labels = _labels_of(found)
        tag = labels.get(names.CONTENT, "")[:16]
        if not tag or f"{repository}:{tag}" not in (found.get("RepoTags") or ()):
            tag = _split(name)[1]
        for pushed in sorted(found.get("RepoDigests") or (), key=len):
            address, _, digest = pushed.partition("@")
            if address == repository or address.endswith(f"/{repository}"):
                return ImageRef(address, tag, found["Id"], digest, labels)
        return ImageRef(repository, tag, found["Id"], None, labels)


def remove_image(name: str, content: str) -> list[str]:
    """Remove the images called ``name`` of this content, under all their names; these.

    None that is there is not an error. Raises Conflict where a container uses one, EngineError.
    """
    from docker.errors import APIError

    filters = {"label": [f"{names.NAME}={name}", f"{names.CONTENT}={content}"]}
    removed: list[str] = []
    with engine() as client:
        rows = client.api.images(filters=filters)
        # All are looked at first: a name that is gone does not come back.
        for row in rows:
            if user := _user_of(client, row["Id"]):
                raise Conflict(
                    f"{name}:{content[:16]} is used by the container {user}",
                    hint=f"docker rm {user}",
                )
        for row in rows:
            tags = [tag for tag in row.get("RepoTags") or () if tag != "<none>:<none>"]
            for each in tags or [row["Id"]]:
                try:
                    client.api.remove_image(each)
                except APIError as error:
                    if error.status_code != 404:
                        raise
                removed.append(each)
    return removed


def _user_of(client: Any, image_id: str) -> str | None:
    """A container of the image that does not go away, None where there is none."""
    end_s = time.monotonic() + _LEAVING_S
    while users := client.api.containers(all=True, filters={"ancestor": image_id}):
        if time.monotonic() > end_s:
            return str(users[0]["Id"])[:12]
        time.sleep(0.2)
    return None


def tag_image(ref: ImageRef, tags: Iterable[str]) -> None:
    """Let ``ref`` have each of ``tags`` as well.

    Raises EngineError.
    """
    with engine() as client:
        for tag in tags:
            client.api.tag(ref.id, ref.name, tag, force=True)


def _split(name: str) -> tuple[str, str]:
    """Repository and tag; a colon before the last slash is a registry's port."""
    head, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    return f"{head}{slash}{repository}", tag or "latest"


def _inspected(client: Any, name: str) -> dict[str, Any] | None:
    from docker.errors import ImageNotFound as NoSuchImage

    try:
        found: dict[str, Any] = client.api.inspect_image(name)
    except NoSuchImage:
        return None
    return found


def _labels_of(image: Mapping[str, Any]) -> dict[str, str]:
    return dict((image.get("Config") or {}).get("Labels") or {})


def _labels(recipe: Recipe) -> dict[str, str]:
    """The labels that are known before anything is built."""
    labels = {
        names.NAME: recipe.name,
        names.ENVIRONMENT: recipe.environment,
        names.CONTENT: recipe.content,
        names.VERSION: recipe.bundlerun_version,
        names.PROTOCOL: JOB_PROTOCOL,
        # Empty, not absent: the base image's own must not show through.
        names.OCI_REVISION: "",
        names.OCI_SOURCE: "",
        names.OCI_TITLE: recipe.ingredients.script or recipe.name,
        names.OCI_VERSION: recipe.tag,
        names.OCI_BASE: recipe.ingredients.base,
    }
    labels |= {} if recipe.code is None else _labels_of_code(recipe.code)
    return {name: str(value) for name, value in labels.items()}


def _labels_of_code(code: Code) -> dict[str, str]:
    root = code.root.resolve()
    return {
        names.MODULE: code.module,
        names.SOURCE: code.source,
        names.LEFT_OUT: json.dumps(dict(sorted(code.left_out.items()))),
        names.PIPE_ROOT: str(root),
        names.DIRTY: "" if code.commit is None else str(code.dirty).lower(),
        names.OCI_REVISION: code.commit or "",
        names.OCI_SOURCE: root.as_uri(),
        names.OCI_TITLE: code.module,
    }


def _named(client: Any, recipe: Recipe, image: Mapping[str, Any]) -> ImageRef:
    """The image by its content; the newest one of a module's pipes is ``latest``."""
    latest = f"{recipe.name}:latest"
    if recipe.code is not None and latest not in (image.get("RepoTags") or ()):
        client.api.tag(image["Id"], recipe.name, "latest", force=True)
    return ImageRef(recipe.name, recipe.tag, image["Id"], None, _labels_of(image))


def _built(
    client: Any,
    recipe: Recipe,
    environ: Mapping[str, str] | None,
    progress: Progress,
    no_cache: bool,
) -> str:
    around = BuildSurroundings.of(os.environ if environ is None else environ)
    command = buildkit_command()
    if command is not None:
        command = (*command, "--no-cache") if no_cache else command
        return build_with_buildkit(command, recipe, around, progress)
    return build_classic(client, recipe, around, progress, no_cache=no_cache)


def _below(client: Any, image: Mapping[str, Any]) -> str:
    """The id of the image below the labels of ``image``.

    Putting labels over labels each time would reach the engine's limit of layers.
    """
    parent = str(image.get("Parent") or "")
    return parent if parent and _inspected(client, parent) else str(image["Id"])


def _labelled(client: Any, recipe: Recipe, below: str, labels: dict[str, str]) -> dict[str, Any]:
    """``below`` with ``labels`` and its own schema, tagged by content; inspected."""
    # Never started: a container is what files are read out of, and what can be committed.
    container = client.api.create_container(below, platform=recipe.platform)["Id"]
    try:
        if recipe.code is not None and names.SCHEMA not in labels:
            labels[names.SCHEMA] = _schema(client, container, recipe.code.module)
        image_id = client.api.commit(
            container, recipe.name, recipe.tag, message="labels", conf={"Labels": labels}
        )["Id"]
    finally:
        client.api.remove_container(container, v=True, force=True)
    found = _inspected(client, image_id)
    if found is None:
        raise EngineError(f"the engine lost the image {image_id}", hint="bundlerun doctor")
    return found


def _schema(client: Any, container: str, module: str) -> str:
    chunks, _ = client.api.get_archive(container, SCHEMA)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        member = tar.next()
        stream = tar.extractfile(member) if member else None
        text = stream.read().decode("utf-8", "replace") if stream else ""
    found = schema_in(text)
    if found is not None:
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    raise BuildFailed(
        f"the image of {module} describes no pipes: {text[-300:]!r}",
        hint=f"bundlerun -v dockerize PIPE_ROOT {module}.PIPE",
    )


def _remove_old(client: Any, recipe: Recipe) -> None:
    """Remove the old images of the name of ``recipe``.

    Kept are the image of ``recipe`` and those of the last contents of its name; one that a
    container uses stays as well, one that the user gave a tag, and one whose name another image has
    only just taken: it may be what another process is making.
    """
    from docker.errors import APIError

    rows = client.api.images(filters={"label": f"{names.NAME}={recipe.name}"})
    rows.sort(key=lambda row: str(row["Labels"].get(names.OCI_CREATED, "")), reverse=True)
    contents = list(dict.fromkeys(row["Labels"].get(names.CONTENT) for row in rows))
    most = KEPT_ENVIRONMENTS if recipe.code is None else KEPT_CONTENTS
    kept = {recipe.content, *contents[:most]}
    young_s = max((row["Created"] for row in rows), default=0) - _BEING_MADE_S
    for row in rows:
        tags = [tag for tag in row.get("RepoTags") or () if tag != "<none>:<none>"]
        content = str(row["Labels"].get(names.CONTENT))
        ours = all(tag.endswith((":latest", f":{content[:16]}")) for tag in tags)
        if not ours or (content in kept and (tags or row["Created"] > young_s)):
            continue
        for named in tags or [row["Id"]]:
            try:
                client.api.remove_image(named)
            except APIError as error:
                if error.status_code not in (404, 409):
                    raise
