"""One thin command per step of a recipe: parse, load, call, write."""
