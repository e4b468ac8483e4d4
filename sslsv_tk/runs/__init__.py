"""A system at work on disk: trained, judged, or opened for extraction."""
