"""How a bundle is computed."""
