"""A function over many items: its parts, and the jobs that work through them."""
