"""Bundles at rest on this disk."""
