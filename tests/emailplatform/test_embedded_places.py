"""Where the embedded servers live: long paths, folders for root alone, other people's folders."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from emailplatform.embedded import EmbeddedError, places
from tests.emailplatform.embedding import Users

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as others")


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder which only its owner may enter, such as /root. What is made elsewhere goes too."""
    top = Path(tempfile.mkdtemp(prefix="private"))
    yield top
    for link in top.rglob("postgres"):
        if link.is_symlink():
            shutil.rmtree(link.resolve())
    shutil.rmtree(top)


@pytest.mark.parametrize("binaries", ["wheel", ""])
def test_a_private_folder_is_enough(private, binaries):
    users = Users(private / "checkout/var")
    try:
        users.arrive(EMBEDDED_BINARIES=binaries)

        assert users.query("SELECT 1") == [(1,)]
        assert users.cache().ping()
    finally:
        users.leave()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@only_root
def test_data_go_where_nobody_can_reach_them_and_a_link_shows_where(private):
    place = places.find_place("postgres", private / "var", unprivileged=True)

    link = private / "var/postgres"
    assert link.is_symlink()
    assert link.resolve() == place.home
    assert (place.home / "of").read_text() == f"{link}\n"
    assert places.find_place("postgres", private / "var", unprivileged=True) == place
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@only_root
def test_a_folder_where_all_may_pass_keeps_its_data(embedded_var):
    place = places.find_place("postgres", embedded_var, unprivileged=True)

    assert place.home == embedded_var / "postgres"
    assert place.user


@only_root
def test_root_runs_the_servers_of_somebody_elses_data_as_their_owner(embedded_var):
    data = embedded_var / "theirs/postgres/data"
    data.mkdir(parents=True)
    os.chown(data, 1234, 1234)

    place = places.find_place("postgres", embedded_var / "theirs", unprivileged=True)

    assert (place.user, place.group) == (1234, 1234)


@pytest.mark.parametrize("name", ["long/" * 30, "with,comma"])
def test_a_path_that_no_socket_can_have_gets_a_short_one(embedded_var, name):
    users = Users(embedded_var / name / "var")
    place = places.find_place("redis", users.var, unprivileged=False)
    try:
        users.arrive("import os, psycopg; psycopg.connect(os.environ['DATABASE_URL']);" + _STAY)
    finally:
        users.leave()

    assert place.sockets.parent == places.SHORT
    assert stat.S_IMODE(place.sockets.stat().st_mode) == 0o700
    for each in ("postgres", "redis"):
        found = places.find_place(each, users.var, unprivileged=each == "postgres")
        shutil.rmtree(found.sockets)


def test_a_short_folder_which_somebody_else_has_made_is_refused(embedded_var):
    var = embedded_var / ("long/" * 31) / "var"
    place = places.find_place("redis", var, unprivileged=False)
    place.sockets.chmod(0o777)

    with pytest.raises(EmbeddedError, match="is not ours: remove it"):
        places.find_place("redis", var, unprivileged=False)

    place.sockets.rmdir()


_STAY = "print('ready', flush=True); sys.stdin.read()"
