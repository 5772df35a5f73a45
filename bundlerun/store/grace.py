"""How long a clean-up leaves alone what nothing needs: a default of verbs, which need no report."""

from __future__ import annotations

GRACE_S = 7 * 86_400
"""What is younger than this is kept, unless another grace is set."""
