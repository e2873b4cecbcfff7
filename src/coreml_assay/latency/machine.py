"""What a Mac says about itself, by the commands that come with it."""

from __future__ import annotations

import subprocess
from typing import get_args

from coreml_assay.latency_records import UNKNOWN, Thermal

# The levels of macOS's OSThermalNotification.h, in their order.
_LEVELS = get_args(Thermal)[1:]
_THERMAL = "com.apple.system.thermalpressurelevel"


def said(*command: str) -> str:
    """What a command prints, on one line; "unknown" where it is missing, fails or is silent."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return UNKNOWN
    return " ".join(done.stdout.split()) or UNKNOWN


def mac_model() -> str:
    """For example "Mac14,2"."""
    return said("sysctl", "-n", "hw.model")


def mac_version() -> str:
    """Of macOS, for example "15.1"."""
    return said("sw_vers", "-productVersion")


def mac_build() -> str:
    """Of macOS, for example "24B83"."""
    return said("sw_vers", "-buildVersion")


def xcode_version() -> str:
    """Version and build of Xcode, "unknown" without one."""
    return said("xcodebuild", "-version")


def mac_thermal() -> Thermal:
    """The thermal pressure, "unknown" where it cannot be read."""
    words = said("notifyutil", "-g", _THERMAL).split()
    level = words[-1] if len(words) == 2 and words[0] == _THERMAL else ""
    known: dict[str, Thermal] = {str(at): name for at, name in enumerate(_LEVELS)}
    return known.get(level, "unknown")
