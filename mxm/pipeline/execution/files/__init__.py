"""The files that tasks read and write, seen while they run."""
