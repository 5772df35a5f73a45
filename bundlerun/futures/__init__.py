"""One function, many inputs: what of it travels, how it is sealed, and what became of each item."""
