"""One file per data set: its folder layout in, candidates for the index out."""
