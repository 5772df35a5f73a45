"""What a bundle is: pure values."""
