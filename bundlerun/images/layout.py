"""Where things lie in an image, for what runs in its containers."""

from __future__ import annotations

CODE = "/bundlerun/code"
"""Where the pipeline's source lies; it is on PYTHONPATH."""

SCRIPT = "BUNDLERUN_SCRIPT"
"""The variable in which the image of a script has the path of that script."""
