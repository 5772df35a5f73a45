"""Bundles elsewhere."""
