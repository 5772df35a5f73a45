"""Fit a decay to many noisy measurements: a function mapped over them, in containers.

``python examples/map_fits.py`` fits here, ``python examples/map_fits.py AWSBatch`` on AWS Batch.
The context must have a remote, ``file:///dir`` or ``s3://bucket/prefix``; AWS Batch needs the
latter.
"""

from __future__ import annotations

import sys

import numpy as np

import bundlerun as br

TIMES = np.linspace(0.0, 5.0, 200)


def measured(seed: int, rate: float) -> np.ndarray:
    """A decay as an instrument shows it: amplitude 3, some noise."""
    noise = np.random.default_rng(seed).normal(scale=0.02, size=TIMES.size)
    return 3.0 * np.exp(-rate * TIMES) + noise


def fitted(signal: np.ndarray, rates: np.ndarray) -> dict[str, float]:
    """The rate, among ``rates``, and the amplitude that fit ``signal`` best."""
    shapes = np.exp(-np.outer(rates, TIMES))
    amplitudes = shapes @ signal / (shapes**2).sum(axis=1)
    errors = ((signal - amplitudes[:, None] * shapes) ** 2).sum(axis=1)
    best = int(errors.argmin())
    return {"rate": float(rates[best]), "amplitude": float(amplitudes[best])}


def main(backend: str) -> None:
    """Fit twenty decays, and keep the fits as the bundle `fits`."""
    rates = np.linspace(0.2, 2.0, 20)
    run = br.map(
        fitted,
        (measured(seed, rate) for seed, rate in enumerate(rates)),
        kwargs={"rates": np.linspace(0.1, 3.0, 2901)},
        backend=backend,
        requirements=["numpy"],
        output="fits",
    )
    print(run)
    for future in br.as_completed(run):
        fit = future.result(timeout=3600)
        print(f"{future.index:2}: rate {fit['rate']:.3f} (true: {rates[future.index]:.3f})")
    print(f"kept as {run.output.name}@{run.output.id[:13]}")


if __name__ == "__main__":
    main(*sys.argv[1:] or ("Local",))
