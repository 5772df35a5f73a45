"""Pipelines frozen into images."""
