"""Bindings to engines: each turns a plan into a run."""
