"""Implementations that are wrong in one way each, which the suite must catch."""
