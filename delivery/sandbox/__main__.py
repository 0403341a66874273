"""Run the sandbox by itself: python -m delivery.sandbox --config FILE."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from delivery.sandbox.config import Config, ConfigError, load
from delivery.sandbox.server import Sandbox


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m delivery.sandbox", description=__doc__)
    parser.add_argument("--config", required=True, help="JSON with accounts and options")
    parser.add_argument("--port", type=int, help="HTTP port (8025)")
    parser.add_argument("--smtp-port", type=int, help="SMTP port (8026)")
    parser.add_argument("--store", help="SQLite file that keeps the inbox over a restart")
    parser.add_argument(
        "--reader-hosts",
        nargs="*",
        help="whose images and links readers ask for, on this machine (127.0.0.1:8000)",
    )
    given = parser.parse_args(arguments)
    wanted = {
        key: value for key, value in vars(given).items() if key != "config" and value is not None
    }
    try:
        config = replace(load(given.config), **wanted)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(config))
    return 0


async def serve(config: Config) -> None:
    """Run a sandbox until the process is told to end."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with Sandbox(config) as sandbox:
        smtp = f", SMTP on port {sandbox.smtp_port}" if sandbox.smtp_port else ""
        sys.stdout.write(f"Sandbox: {sandbox.url}{smtp}\n")
        sys.stdout.flush()
        await stopping.wait()


if __name__ == "__main__":
    sys.exit(main())
