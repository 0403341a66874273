"""Where a server keeps its data, locks and socket, and as whom it runs."""

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emailplatform.embedded import EmbeddedError, locks, sockets

ELSEWHERE = ("/var/lib", "/var/tmp")  # noqa: S108  made with care, see _private
"""Where root may keep data that `nobody` must reach; the first is never cleaned by the system."""

SHORT = Path("/tmp")  # noqa: S108
"""Where a socket goes if its path is too long. TMPDIR may differ between two terminals."""


@dataclass(frozen=True)
class Place:
    """The folder `home` of one server (locks, log, data), its socket's folder, and its user."""

    home: Path
    sockets: Path
    user: int | None = None
    group: int | None = None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    @property
    def extra_groups(self) -> list[str | int] | None:
        return None if self.user is None else []

    def own(self, folder: Path) -> None:
        """Make `folder` if it is missing, for the server's eyes only."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)

    def can_run(self, program: Path) -> bool:
        """Say whether the server's user may execute `program`: every folder above it counts."""
        return _can(self.user, self.group, program)


def find_place(name: str, var: Path, *, unprivileged: bool) -> Place:
    """Return the place of server `name` under `var`, and make what is missing of it.

    Started by root, a server runs as the owner of its data; new data of one that refuses to be
    root (`unprivileged`, PostgreSQL) belongs to `nobody`. If that user cannot get into `var`, the
    place is a folder where it can and var/<name> a link to it; the modes of folders above are
    never touched.
    """
    try:
        var.mkdir(parents=True, exist_ok=True)
        with _alone_in(var):
            return _find(var / name, unprivileged=unprivileged)
    except PermissionError as error:
        raise EmbeddedError(
            f"{error.filename or var} belongs to somebody else. Run this as its owner, or set "
            "VAR_DIR to a folder of your own."
        ) from error


def _find(link: Path, *, unprivileged: bool) -> Place:
    other = _other(link, unprivileged=unprivileged) if os.geteuid() == 0 else None
    if other is None:
        home = _made(link, 0o700)
        return Place(home, _sockets(home, os.geteuid()))
    if not link.exists() and not _can(*other, link.parent):
        link.unlink(missing_ok=True)
        link.symlink_to(_elsewhere(link))
    home = _made(link, 0o711)
    if not _can(*other, home):
        raise EmbeddedError(
            f"The owner of the data in {home} cannot get there. Let others pass through the "
            "folders above it (chmod o+x), or set VAR_DIR to another folder."
        )
    return Place(home, _sockets(home, *other), *other)


def _other(link: Path, *, unprivileged: bool) -> tuple[int, int] | None:
    """Return user and group of the server which root starts, None if it is root."""
    try:
        owner = (link / "data").stat()
    except FileNotFoundError:
        owner = None
    if owner and owner.st_uid:
        return owner.st_uid, owner.st_gid
    if not unprivileged:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _made(link: Path, mode: int) -> Path:
    """Return the folder behind `link`, made with `mode` if missing."""
    home = link.resolve()
    if link.is_symlink() and not home.exists():
        link.unlink()
        home = link
    if not home.exists():
        home.mkdir()
        home.chmod(mode)
    return home


def _elsewhere(link: Path) -> Path:
    parent = next((Path(name) for name in ELSEWHERE if os.access(name, os.W_OK)), None)
    if parent is None:
        raise EmbeddedError(f"No folder of {' or '.join(ELSEWHERE)} can be written to.")
    shared = _private(parent / "emailplatform", 0, mode=0o711)
    home = _private(shared / _digest(link), 0, mode=0o711)
    (home / "of").write_text(f"{link}\n", encoding="utf-8")
    return home


def _sockets(home: Path, user: int, group: int | None = None) -> Path:
    """Return the folder for the socket: in `home`, unless its path cannot be one of a socket.

    It may be too long, and in a comma PostgreSQL's clients see two hosts.
    """
    folder = home / "socket"
    if len(os.fsencode(folder / ".s.PGSQL.5432")) > sockets.MAX_PATH or "," in str(folder):
        return _private(SHORT / f"emailplatform-{_digest(home)}", user, group)
    return _private(folder, user, group)


def _private(folder: Path, user: int, group: int | None = None, *, mode: int = 0o700) -> Path:
    """Make `folder` for `user`; refuse one which somebody else has put there before."""
    try:
        folder.mkdir(mode=0o700)
        folder.chmod(mode)
        if user != os.geteuid():
            os.chown(folder, user, -1 if group is None else group)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o022:
        raise EmbeddedError(f"{folder} is not ours: remove it and try again.")
    return folder


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _can(user: int | None, group: int | None, path: Path) -> bool:
    """Ask the system itself, as that user: modes alone do not tell (ACLs, mounts)."""
    shell = shutil.which("sh") or "/bin/sh"
    extra: list[str | int] | None = None if user is None else []
    command = [shell, "-c", 'test -x "$0"', str(path)]
    asked = subprocess.run(
        command, user=user, group=group, extra_groups=extra, cwd="/", check=False
    )
    return asked.returncode == 0


@contextmanager
def _alone_in(var: Path) -> Iterator[None]:
    """Only one process at a time makes folders in `var`."""
    lock = locks.open_lock(var / "places.lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
