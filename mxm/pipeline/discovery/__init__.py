"""Flows are found: settings, files, modules, targets."""
