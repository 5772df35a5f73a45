"""The layout of an image, for what runs in its containers."""

from __future__ import annotations

CODE = "/bundlerun/code"
"""The folder of the pipeline's source, which is on PYTHONPATH."""

SCRIPT = "BUNDLERUN_SCRIPT"
"""The variable in which the image of a script has the path of that script."""
