"""The reference implementation, under the names and module paths of coremltools.optimize."""
