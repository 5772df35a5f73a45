"""What remote work is: pure values."""
