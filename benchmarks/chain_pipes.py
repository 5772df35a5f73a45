"""A chain of trivial pipes, for the time that a pipe costs."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

import luigi

import bundlerun as br


class Step(br.Pipe):
    """One more than the step before it; ``salt`` makes a chain that was never computed."""

    number = luigi.IntParameter()
    salt = luigi.IntParameter()

    def requires(self) -> dict[str, Step]:
        if self.number == 1:
            return {}
        return {"before": Step(number=self.number - 1, salt=self.salt)}

    def pipe_run(self, pipeline_input: Any, before: int = 0) -> int:
        return before + 1
