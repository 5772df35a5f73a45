"""The pipes that the apply of a killed process runs: one needs the other."""

from __future__ import annotations

from typing import Any

import bundlerun
from bundlerun.bundles.value.files import File


class Rows(bundlerun.Pipe):
    """The rows of the input, and a file of its own that is too large for a row."""

    def pipe_run(self, pipeline_input: Any) -> Any:
        path = self.scratch / "rows.bin"
        path.write_bytes(b"r" * 300_000)
        return {"rows": sorted(pipeline_input["rows"]), "file": File(path)}


class Total(bundlerun.Pipe):
    """The sum of the rows."""

    def requires(self) -> dict[str, Any]:
        return {"rows": Rows()}  # type: ignore[no-untyped-call]

    def pipe_run(self, pipeline_input: Any, rows: Any) -> Any:
        return {"total": sum(rows["rows"]), "size": rows["file"].path.stat().st_size}
