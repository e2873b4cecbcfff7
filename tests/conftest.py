"""What all tests share: hypothesis tries the same inputs in every run, and times nothing."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("tests", deadline=None, derandomize=True, database=None)
# Many wrong programs are run under this one; that each is found counts, not its smallest input.
settings.register_profile(
    "mutation",
    settings.get_profile("tests"),
    max_examples=20,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("tests")
