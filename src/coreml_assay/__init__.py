"""Accuracy and conformance harness for Core ML quantization, with a reference implementation."""

__version__ = "0.1.0"
