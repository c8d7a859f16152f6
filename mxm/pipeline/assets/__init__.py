"""Assets: files and tables that tasks leave behind; declared, written, checked and read."""
