"""What belongs to the process: its signals, its terminal, its log."""
