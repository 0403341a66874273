#!/usr/bin/env python3
"""The command line.

Without DATABASE_URL and REDIS_URL it has servers of its own under var/, and without DATABASE_URL
this is a local installation (LOCAL).
"""

import os
import sys
from pathlib import Path

from emailplatform import embedded

NEED_NO_SERVERS = {"help", "version", "collectstatic", "-h", "--help", "--version", "crash_drill"}
"""The last one brings its own."""


def main() -> None:
    """Run the command of sys.argv with the servers it needs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "emailplatform.settings")
    if not os.environ.get("DATABASE_URL") and not os.environ.get("DATABASE_URL_FILE"):
        os.environ.setdefault("LOCAL", "on")
    if NEED_NO_SERVERS.isdisjoint(sys.argv[1:]) and len(sys.argv) > 1:
        use_servers()
    else:
        os.environ.setdefault("DATABASE_URL", "postgresql:///not-needed")
        os.environ.setdefault("REDIS_URL", "unix:///not-needed")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


def use_servers() -> None:
    """Take part in the embedded servers where no others are named."""
    try:
        embedded.use(Path(__file__).resolve().parent)
    except embedded.EmbeddedError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
