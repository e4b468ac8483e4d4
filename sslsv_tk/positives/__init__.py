"""Who is the positive of whom: one file per positive sampler, found by its name."""
