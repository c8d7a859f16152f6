"""The cache of a run: keys, why a result is used or not, and what is kept."""
