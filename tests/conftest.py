"""What all tests share: hypothesis tries the same inputs in every run, and times nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")
