"""Invariants, tried on inputs that hypothesis draws."""
