"""The keys of equal work: apply's task key, and the client's request key.

Nothing here imports luigi or the user's code: the client computes its keys from what an image's
labels record of a pipe.
"""

from __future__ import annotations

from collections.abc import Mapping

from bundlerun.bundles.digest import Digest, canonical_json, digest_of
from bundlerun.bundles.lineage import ReuseKey

MAX_PART_BYTES = 4096


"""A longer part of a key is kept as its digest: keys lie in every record."""


NO_INPUT = "-"


"""The part ``input`` of work that has no pipeline input."""


_NONE: Mapping[str, str] = {}


def task_key(
    *,
    pipe: str,
    source: Digest,
    params: Mapping[str, str],
    input_root: Digest | None,
    dependencies: Mapping[str, Digest],
    environment: str,
    config: Mapping[str, str] = _NONE,
    env: Mapping[str, str] = _NONE,
) -> ReuseKey:
    """The key that apply and the worker look for.

    ``params`` are the significant ones, serialised by luigi; ``dependencies`` are the roots of
    the values that go in besides the pipeline input, by the name they go in under; ``config`` and
    ``env`` are what was given by ``--set`` and ``--env``.
    """
    return ReuseKey(
        {
            "pipe": pipe,
            "source": source,
            "params": _json(params),
            "input": input_root or NO_INPUT,
            "dependencies": _json(dependencies),
            "environment": environment,
            **_given(config, env),
        }
    )


def request_key(
    *,
    pipe: str,
    source: Digest,
    params: Mapping[str, str],
    input_root: Digest | None,
    environment: str,
    config: Mapping[str, str] = _NONE,
    env: Mapping[str, str] = _NONE,
) -> ReuseKey:
    """The key that the client looks for before it starts a job.

    ``params`` are the significant ones, ``normalised``.
    """
    return ReuseKey(
        {
            "pipe": pipe,
            "source": source,
            "params": _json(params),
            "input": input_root or NO_INPUT,
            "environment": environment,
            **_given(config, env),
        }
    )


def _given(config: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Parts that are there where something was given, for most records have none."""
    return {part: _json(rows) for part, rows in (("config", config), ("env", env)) if rows}


def _json(rows: Mapping[str, str]) -> str:
    data = canonical_json(dict(sorted(rows.items())))
    return data.decode() if len(data) <= MAX_PART_BYTES else f"sha256:{digest_of(data)}"
