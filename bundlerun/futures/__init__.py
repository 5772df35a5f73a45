"""One function over many inputs: its pickle, its seal, and the items' outcomes."""
