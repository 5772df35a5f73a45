"""The backends, on the real engine and on moto's Batch."""
