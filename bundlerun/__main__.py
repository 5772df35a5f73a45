"""``python -m bundlerun``: the command, where only the interpreter is known."""

from __future__ import annotations

from bundlerun.cli.main import main

if __name__ == "__main__":
    main()
