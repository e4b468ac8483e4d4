"""Stage 3: data directories to packed audio and features, in parts that are joined."""
