"""A plan is run: driver, runners, calls, worker processes."""
