"""What it was measured on, and how much memory processes took."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import psutil
from django.core.cache import cache
from django.db import connection


def describe() -> dict[str, str]:
    """Return the machine in words, by what it is about."""
    return {
        "CPU": f"{os.cpu_count()} cores, {_cpu_model()}",
        "RAM": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "PostgreSQL": _postgres(),
        "Redis": _redis(),
        "Load before": f"{os.getloadavg()[0]:.1f} (1 min)",
    }


def peak_mb(pid: int | None = None) -> float:
    """Return the most memory a process had resident, in MB; 0.0 if it is gone.

    From the kernel's own mark. `getrusage` would give a new process the peak of its parent.
    """
    try:
        status = Path(f"/proc/{pid or 'self'}/status").read_text()
    except FileNotFoundError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def tree_peak_mb(pid: int) -> float:
    """Return the peak of the largest process of a tree."""
    try:
        pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return max(map(peak_mb, pids))


def postgres_cpu_s() -> float:
    """Return the CPU seconds of the database server we use, those of ended children included."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone() or (0,)
    server = psutil.Process(backend).parent()
    if server is None:
        return 0.0
    spent = float(sum(server.cpu_times()[:4]))
    for child in server.children():
        try:
            spent += sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return spent


def _cpu_model() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _postgres() -> str:
    shown = {}
    with connection.cursor() as cursor:
        for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers"):
            cursor.execute(f"SHOW {name}")
            (shown[name],) = cursor.fetchone() or ("?",)
    version = shown.pop("server_version")
    return f"{version}, " + ", ".join(f"{name} {value}" for name, value in shown.items())


def _redis() -> str:
    info = cache._cache.get_client().info("server")  # type: ignore[attr-defined]
    return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
