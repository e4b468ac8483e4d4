"""What is drawn for a segment, as numbers and before any sound is touched."""
