"""Audio files of any kind: what they are, how long they are, their samples."""
