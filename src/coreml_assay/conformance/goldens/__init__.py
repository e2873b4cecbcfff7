"""Comparisons with what real coremltools produced."""
