"""Inspects functions: signature, annotations, importable name."""
