"""Assets that steps write: where, made from what, and whole or not at all."""
