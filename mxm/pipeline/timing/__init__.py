"""Schedules, time zones, delays."""
