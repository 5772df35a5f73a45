"""Code frozen for travel: from a pipeline's source to a container image."""
