"""Mapped tasks during a run: their lists, their items, and how these ended."""
