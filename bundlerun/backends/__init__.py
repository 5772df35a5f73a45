"""Backends: the places where jobs run."""
