#!/usr/bin/env python3
"""The command line. Without DATABASE_URL and REDIS_URL it has servers of its own under var/."""

import os
import sys
from pathlib import Path

from emailplatform import embedded

NEED_NO_SERVERS = {"help", "version", "sandbox", "collectstatic", "-h", "--help", "--version"}


def main() -> None:
    """Run the command of sys.argv with the servers it needs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "emailplatform.settings")
    if NEED_NO_SERVERS.isdisjoint(sys.argv[1:]) and len(sys.argv) > 1:
        use_servers()
    else:
        os.environ.setdefault("DATABASE_URL", "postgresql:///not-needed")
        os.environ.setdefault("REDIS_URL", "unix:///not-needed")
        os.environ.setdefault("LOCAL", "on")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


def use_servers() -> None:
    """Take part in the embedded servers where no others are named; then this is a local place."""
    try:
        embedded.use(Path(__file__).resolve().parent)
    except embedded.EmbeddedError as error:
        sys.exit(str(error))
    if embedded.has("DATABASE_URL"):
        os.environ.setdefault("LOCAL", "on")


if __name__ == "__main__":
    main()
