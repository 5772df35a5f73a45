"""The AWS room, on moto's server."""
