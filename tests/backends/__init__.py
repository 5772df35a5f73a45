"""The backends, on the real engine and on the sandbox's Batch."""
