"""Finds the problems of a flow before anything runs."""
