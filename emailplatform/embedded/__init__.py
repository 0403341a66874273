"""PostgreSQL and Redis without an installation: started with the first user, stopped with the last.

`use(root)` fills in DATABASE_URL and REDIS_URL where they are unset. Knows no Django: it runs
before settings are read.

Two locks in the folder of each server carry the whole arrangement:
- `users.lock`: every user holds it shared, through a descriptor that children inherit. When the
  kernel grants it exclusively, nobody uses the server any more, however the users ended.
- `supervisor.lock`: held by the one process that starts, restarts and stops the server. The user
  who gets it starts that process and hands the lock over to it.
"""

import os
from pathlib import Path

_held: dict[str, int] = {}
"""Variable -> descriptor of the lock that makes this process a user of the server behind it."""


class EmbeddedError(Exception):
    """A server cannot be had. `str()` is for the person at the terminal and says what to do."""


def use(root: Path) -> None:
    """Set DATABASE_URL and REDIS_URL where they are unset, and be a user of what they name.

    Data is kept in `root`/var, or VAR_DIR. With EMBEDDED_FSYNC=off a server that starts waits for
    no disk: for tests. What a parent got from here is taken part in again. Raises EmbeddedError.
    """
    folder = Path(os.environ.get("VAR_DIR") or root / "var").resolve()
    for variable in ("DATABASE_URL", "REDIS_URL"):
        if variable in _held or not _is_ours(variable):
            continue
        from emailplatform.embedded import joining

        durable = os.environ.get("EMBEDDED_FSYNC", "on").lower() != "off"
        joined = joining.join(variable, folder, durable=durable)
        _held[variable] = joined.lock
        os.environ[variable] = os.environ[f"EMBEDDED_{variable}"] = joined.url


def descriptors() -> tuple[int, ...]:
    """Return the descriptors to hand to children (`pass_fds`) so that they count as users too."""
    return tuple(_held.values())


def _is_ours(variable: str) -> bool:
    if os.environ.get(f"{variable}_FILE"):
        return False
    given = os.environ.get(variable)
    return not given or given == os.environ.get(f"EMBEDDED_{variable}")
