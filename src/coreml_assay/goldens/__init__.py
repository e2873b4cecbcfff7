"""Golden files: what real coremltools produced, frozen, with versions and checksums.

They are made by an explicit command and never by a test run.
"""
