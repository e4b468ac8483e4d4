"""Runs an encoder over a data directory: embeddings of full utterances, and the pass that fills the queues."""
