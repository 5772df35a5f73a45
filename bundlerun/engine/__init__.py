"""The Docker engine that the user means: which one, and a connection to it."""
