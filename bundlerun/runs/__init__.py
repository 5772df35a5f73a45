"""From names to a new bundle."""
