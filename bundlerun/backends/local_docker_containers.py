"""The containers of jobs on an engine: made, found by label, started, ended.

What is raised is the Docker SDK's, unless it says otherwise.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Collection, Iterator
from typing import Any

from bundlerun.backends.job import JobHandle, JobSpec
from bundlerun.backends.local_docker_options import PART_LABEL, RUN_LABEL, container_options
from bundlerun.backends.local_docker_state import CANCELLED, Row, inspected_status, row_of
from bundlerun.docker_engine import reason
from bundlerun.errors import Conflict, EngineError, ImagePull

STOP_GRACE_S = 2
SHOWN_WITHIN_S = 10.0


def listed(client: Any, *, label: str | list[str]) -> list[Row]:
    """The jobs' containers with these labels, running or not.

    One request, no inspection.
    """
    entries = client.api.containers(all=True, filters={"label": label})
    return [row for entry in entries if (row := row_of(entry))]


def part_of(client: Any, run_id: str, part: int) -> list[Row]:
    """The containers of one submission, by index."""
    label = [f"{RUN_LABEL}={run_id}", f"{PART_LABEL}={part}"]
    return sorted(listed(client, label=label), key=lambda row: row.index)


def awaited(client: Any, spec: JobSpec, index: int) -> str | None:
    """The id of a container that another process makes: its name shows before it does."""
    until = time.monotonic() + SHOWN_WITHIN_S
    while True:
        for row in part_of(client, spec.run_id, spec.part):
            if (row.index, row.array) == (index, spec.array):
                return row.id
        if time.monotonic() > until:
            return None
        time.sleep(0.05)


def mark(client: Any, row: Row) -> None:
    """Mark a job whose end was asked for; another process may do so as well."""
    from docker.errors import APIError, NotFound

    if row.cancelled:
        return
    try:
        client.api.rename(row.id, row.name + CANCELLED)
    except NotFound:
        return
    except APIError:
        if not str(client.api.inspect_container(row.id)["Name"]).endswith(CANCELLED):
            raise


def remove(client: Any, id: str) -> None:
    """Remove a container, running or not, with its anonymous volumes.

    One that is gone already is not an error.
    """
    from docker.errors import APIError

    try:
        client.api.remove_container(id, v=True, force=True)
    except APIError as error:
        # 404: gone meanwhile; 409: another process is removing it.
        if error.status_code not in (404, 409):
            raise


def single(client: Any, handle: JobHandle) -> list[Row]:
    """The container of a single job, none where it is gone.

    Raises Conflict for one of another run.
    """
    # The engine's own filter takes the beginning of an id as well.
    entries = client.api.containers(all=True, filters={"id": handle.id})
    entries = [entry for entry in entries if entry["Id"] == handle.id]
    rows = [row for entry in entries if (row := row_of(entry))]
    if entries and [row.run_id for row in rows] != [handle.run_id]:
        raise Conflict(
            f"the container {handle.id[:12]} is not one of run {handle.run_id}: nothing was"
            " done to it",
            hint=f"bundlerun jobs {handle.run_id[:13]}",
        )
    return rows


def created(
    client: Any, spec: JobSpec, user: str, there: Collection[int]
) -> Iterator[tuple[int, str]]:
    """Create the containers of ``spec`` that are not ``there``: index and id of each.

    Raises ImagePull.
    """
    from docker.errors import APIError

    missing = [index for index in range(spec.array) if index not in there]
    if not missing:
        return
    image = image_of(client, spec.image)
    cpus = int(client.info().get("NCPU") or 1)
    for index in missing:
        options = container_options(spec, index, image, user, host_cpus=cpus)
        try:
            yield index, client.containers.create(spec.image, **options).id
        except APIError as error:
            # Another process submits the same run at this moment, and was first.
            found = awaited(client, spec, index) if error.status_code == 409 else None
            if found is None:
                raise
            yield index, found


def image_of(client: Any, name: str) -> Any:
    """The image ``name``, pulled where that can be meant.

    Raises ImagePull.
    """
    from docker.errors import APIError, ImageNotFound

    try:
        return client.images.get(name)
    except ImageNotFound:
        pass
    if not has_registry(name):
        raise ImagePull(
            f"the image {name} is not on this engine",
            hint=f"docker pull {name}; of a pipe: bundlerun dockerize PIPE_ROOT PKG.MODULE.PIPE",
        )
    try:
        client.images.pull(name)
        return client.images.get(name)
    except APIError as error:
        raise ImagePull(
            f"the image {name} is not on this engine and cannot be pulled: {reason(error)}",
            hint=f"docker pull {name}; of a pipe: bundlerun dockerize --push PIPE_ROOT"
            " PKG.MODULE.PIPE",
        ) from error


def start(client: Any, id: str, run_id: str) -> list[str]:
    """Start a container that was never started nor cancelled; its id, else nothing.

    One that cannot start is removed. Raises EngineError.
    """
    from docker.errors import APIError

    found = client.api.inspect_container(id)
    if found["State"]["Status"] != "created" or str(found["Name"]).endswith(CANCELLED):
        return []
    try:
        client.api.start(id)
    except APIError as error:
        remove(client, id)
        raise EngineError(
            f"the engine cannot start the container of run {run_id}: {reason(error)}",
            hint="docker info",
        ) from error
    return [id]


def stop(client: Any, row: Row) -> None:
    """Stop a container: SIGTERM, then SIGKILL.

    Raises EngineError for a container that does not end.
    """
    from docker.errors import APIError, NotFound

    try:
        client.api.stop(row.id, timeout=STOP_GRACE_S)
    except NotFound:
        return
    except APIError as error:
        if not inspected_status(client.api.inspect_container(row.id)).state.final:
            raise EngineError(
                f"the container {row.id[:12]} does not stop: {error}",
                hint=f"docker kill {row.id[:12]}",
            ) from error


def other_host(client: Any, handle: JobHandle) -> str | None:
    """The host of the handle's engine, None where that is the one that answers."""
    engine = handle.extra.get("engine")
    if not engine or engine == client.info().get("ID"):
        return None
    return handle.extra.get("host") or f"the engine {engine}"


def has_registry(image: str) -> bool:
    """Whether ``image`` says where it comes from, so that a pull can be meant."""
    first, slash, _ = image.partition("/")
    return "@sha256:" in image or (
        bool(slash) and ("." in first or ":" in first or first == "localhost")
    )


PART_BYTES = 16384
"""The least size of the parts of a longer line (moby, daemon/logger/copier.go)."""


def unmixed(records: Iterator[bytes]) -> Iterator[bytes]:
    """The records of a container's log, of which none goes on in the other stream's.

    A short one that lacks its newline is the last of its stream.
    """
    for record in records:
        is_part = record.endswith(b"\n") or len(record) >= PART_BYTES
        yield record if is_part else record + b"\n"


def lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Whole lines, decoded, from pieces cut anywhere; the last may lack its newline."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in whole:
            yield line.removesuffix("\r")
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest
