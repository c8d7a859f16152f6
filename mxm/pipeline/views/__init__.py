"""Drawings of specs."""
