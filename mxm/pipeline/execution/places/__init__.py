"""Places: where functions of attempts run."""
