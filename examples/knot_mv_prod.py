"""Multiply random matrices with random vectors, on machines that are made for it and removed.

``python examples/knot_mv_prod.py NAME`` makes the Pars and the Knot NAME with the account of the
present credentials, or in the sandbox (``eval "$(bundlerun sandbox up)"``); with a second argument,
``BUCKET/PREFIX``, the results lie in that bucket. At the end both are deleted, and what remains is
printed.
"""

from __future__ import annotations

import sys

import numpy as np

import bundlerun as br

SIZE = 1024


def random_mv_prod(scale: float) -> np.ndarray:
    """The product of a random matrix and a random vector, both with this standard deviation."""
    generator = np.random.default_rng()
    vector = generator.normal(0, scale, SIZE)
    matrix = generator.normal(0, scale, (SIZE, SIZE))
    return matrix @ vector


def main(name: str = "mv-prod", bucket: str | None = None) -> None:
    """Make a Knot, map on it, show its runs, and remove it."""
    pars = br.Pars(name, bucket=bucket)
    knot = br.Knot(name, random_mv_prod, pars, requirements=["numpy"], memory_mib=512, spot=True)
    scales = np.linspace(0.1, 100, 20)
    run = knot.map(scales)
    for scale, product in zip(scales, run.results(timeout=3600), strict=True):
        print(f"{scale:6.2f}: {product.std():12.2f} (expected: {SIZE**0.5 * scale**2:12.2f})")
    br.wait(run.run_id)  # the results are there before the end of the run is written down
    print(knot.view_jobs())
    for left in knot.clobber(pars=True, repository=True, image=True):
        print(f"remains: {left}")


if __name__ == "__main__":
    main(*sys.argv[1:])
