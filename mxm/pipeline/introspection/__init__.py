"""What a function says of itself: its signature, its annotations, its importable name."""
