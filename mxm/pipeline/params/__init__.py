"""Parameters: those that a flow declares, and the values that a run gets."""
