"""A plugin: hypothesis takes the first input that fails, without a search for a smaller one."""

from __future__ import annotations

from hypothesis import Phase, settings


def pytest_pycollect_makemodule() -> None:
    """Change the settings that the suite's own plugin has just made for a module of checks."""
    quick = settings.get_profile("coreml-assay")
    settings.register_profile("unshrunk", quick, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("unshrunk")
