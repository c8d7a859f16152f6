"""What is wrong with a flow, found before anything runs."""
