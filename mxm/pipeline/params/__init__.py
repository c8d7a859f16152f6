"""Parameters: what a flow declares, and what a run gets."""
