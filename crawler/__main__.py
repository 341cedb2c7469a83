"""`crawler` and `python -m crawler`: where the command line begins."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Exit codes are those of CONTRACT §1 (docs/cli.md)."""
    if sys.platform == "win32":
        sys.exit("crawler: Windows is not supported yet: nothing here has been tested on it. Linux and macOS are.")
    from crawler.cli.main import cli

    cli()


if __name__ == "__main__":
    main()
