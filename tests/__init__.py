"""The tests mirror the rooms of smolkit; `tests.paths` finds the data that live beside the repository."""
