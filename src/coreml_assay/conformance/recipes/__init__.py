"""The documentation's own recipes, as written."""
