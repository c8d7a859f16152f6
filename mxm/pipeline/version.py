"""The version of this package, which `pyproject.toml` has, too."""

__all__ = ["__version__"]

__version__ = "0.2.0"
