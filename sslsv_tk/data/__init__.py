"""Data directories, corpora, trials, packed audio, segments and batches."""
