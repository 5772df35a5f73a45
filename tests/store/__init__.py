"""Bundles at rest."""
