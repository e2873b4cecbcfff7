"""ML programs: opening, describing, materialising and writing them, without macOS."""
