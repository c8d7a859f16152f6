"""Runs a plan: driver, runners, calls, worker processes."""
