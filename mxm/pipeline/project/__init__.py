"""The project of a user: its root, its pyproject.toml."""
