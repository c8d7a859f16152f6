"""The steps of one run, of a part of a flow, and with results replaced."""
