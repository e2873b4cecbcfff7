"""The conformance suite: documented behaviour as checks that any implementation can be run through.

Also plain pytest: ``pytest --pyargs coreml_assay.conformance --implementation NAME``.
"""
