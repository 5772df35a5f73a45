"""The sandbox as AWS clients see it: whether they are led to it, and its limits."""

from __future__ import annotations

import os

ENDPOINT = "BUNDLERUN_SANDBOX_ENDPOINT"
"""The variable with the endpoint of this environment's sandbox; jobs get it too."""

LARGEST_BYTES = 1 << 30
"""The largest object that the sandbox carries.

moto reads all of an object to serve a part of it, so the time goes with the square of the size.
Measured with moto 5.2 on two quiet cores, up and down: 512 MiB 10 and 19 s, 1 GiB 22 and 77 s; of 2
GB the answers come too late.
"""

LEAVE = 'eval "$(bundlerun sandbox down)"'
"""The command that stops the sandbox and gives the shell its own AWS back."""


def leads_to(endpoint: str) -> bool:
    """Whether ``endpoint``, a URL, is that of the sandbox of this environment.

    The sandbox's variables are in the environment then.
    """
    ours = os.environ.get(ENDPOINT)
    return ours is not None and endpoint.rstrip("/") == ours.rstrip("/")
