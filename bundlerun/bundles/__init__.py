"""Bundles and values, as pure data."""
