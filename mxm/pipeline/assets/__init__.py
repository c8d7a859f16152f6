"""Assets: what tasks leave behind, how it is declared, written, checked and read."""
