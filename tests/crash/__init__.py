"""What a crash, a power loss and a crowd may do to a store and a remote."""
