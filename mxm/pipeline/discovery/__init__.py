"""Finds flows: settings, files, modules, targets."""
