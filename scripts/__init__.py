"""Installing and running, with the standard library alone: `python3 -m scripts.run tour`."""
