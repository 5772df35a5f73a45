"""The example pipeline of Disdat-Luigi's tests, for bundlerun."""
