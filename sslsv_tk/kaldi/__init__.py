"""Text tables in the form of Kaldi: data directories, lists and trials."""
