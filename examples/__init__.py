"""Pipelines to try bundlerun with."""
