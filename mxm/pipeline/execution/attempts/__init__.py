"""One step or call during a run: its attempts, its function, its deadline."""
