"""Places: where the function of an attempt runs."""
