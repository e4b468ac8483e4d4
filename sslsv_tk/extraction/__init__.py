"""Stage 6: an encoder over a data directory, embeddings of whole utterances."""
