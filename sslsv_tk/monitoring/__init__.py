"""What is watched and written down while a system trains."""
