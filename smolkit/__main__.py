"""`python -m smolkit` is the command line, also where the `smolkit` script is not on the PATH."""

from __future__ import annotations

from smolkit.cli import main

if __name__ == "__main__":
    main()
