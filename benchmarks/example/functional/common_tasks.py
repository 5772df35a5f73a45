"""Two pipes: B hands on a list of numbers, A sums it. Disdat-Luigi's `common_tasks`, for bundlerun.

The image of each side has pandas too, since Disdat-Luigi's example asks for it in its setup.py.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

import luigi

import bundlerun as br


class B(br.Pipe):
    """Its parameter, as a value."""

    int_array = luigi.ListParameter(default=())

    def pipe_run(self, pipeline_input: Any) -> list[int]:
        print(f"B saves {len(self.int_array)} numbers")
        return list(self.int_array)


class A(br.Pipe):
    """The sum of what B hands on."""

    int_array = luigi.ListParameter(default=(10, 100, 1000))

    def requires(self) -> dict[str, B]:
        return {"b": B(int_array=self.int_array)}

    def pipe_run(self, pipeline_input: Any, b: list[int]) -> int:
        print(f"A sums {len(b)} numbers")
        return sum(b)
