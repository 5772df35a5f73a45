"""What remote work is."""
