"""What a system is: its configuration, its parts, its weights on disk."""
