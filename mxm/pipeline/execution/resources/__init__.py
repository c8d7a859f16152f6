"""Resources of a run: opened once, closed at its end, replaced in tests."""
