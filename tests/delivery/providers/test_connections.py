"""Kept connections: one for each thread, process and account; never a stale or a shared one."""

import multiprocessing
import os
import threading
from collections.abc import Callable

import pytest

from delivery.providers import connections
from delivery.providers.base import Account
from delivery.providers.connections import kept
from tests.delivery.providers import esps
from tests.delivery.providers.letters import small


class Line:
    """A connection that notes what becomes of it."""

    made = 0

    def __init__(self) -> None:
        Line.made += 1
        self.number = Line.made
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def use(account: Account, connect: Callable[[], Line] = Line) -> Line:
    with kept(account, "kind", connect) as line:
        return line


ACCOUNT = Account(1, 1, {"key": "a"})


def test_the_same_account_gets_the_same_connection_again() -> None:
    assert use(ACCOUNT) is use(ACCOUNT)


def test_another_account_gets_another_connection() -> None:
    assert use(ACCOUNT) is not use(Account(2, 1, {"key": "a"}))


@pytest.mark.parametrize("changed", [Account(1, 2, {"key": "a"}), Account(1, 1, {"key": "b"})])
def test_after_a_change_of_the_account_the_old_connection_is_closed(changed: Account) -> None:
    old = use(ACCOUNT)

    new = use(changed)

    assert new is not old
    assert old.is_closed


def test_an_error_closes_the_connection() -> None:
    line = use(ACCOUNT)

    with pytest.raises(ZeroDivisionError), kept(ACCOUNT, "kind", Line):
        _ = 1 / 0

    assert line.is_closed
    assert use(ACCOUNT) is not line


def test_a_connection_that_was_idle_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    line = use(ACCOUNT)
    monkeypatch.setattr(connections, "IDLE_S", -1.0)

    assert use(ACCOUNT) is not line
    assert line.is_closed


def test_a_connection_that_fails_to_close_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    line = use(ACCOUNT)
    monkeypatch.setattr(line, "close", lambda: os.close(10_000))

    connections.close_all()

    assert use(ACCOUNT) is not line


def test_each_thread_has_its_own_connection() -> None:
    lines = [use(ACCOUNT)]

    threads = [threading.Thread(target=lambda: lines.append(use(ACCOUNT))) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()

    assert len({line.number for line in lines}) == 4


@pytest.mark.parametrize("kind", esps.KINDS)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_never_uses_its_parent_s_connection(kind: str) -> None:
    with esps.esp(kind) as esp:
        list(esp.provider.send(small(1)))
        context = multiprocessing.get_context("fork")

        def send_in_child() -> None:
            results = list(esp.provider.send(small(2)))
            os._exit(0 if all(r.provider_message_id for r in results) else 1)

        child = context.Process(target=send_in_child)
        child.start()
        child.join(20)
        list(esp.provider.send(small(1)))

        server = getattr(esp, "smtp", None) or esp.server
        assert child.exitcode == 0
        assert server.connections == 2


@pytest.mark.parametrize("kind", esps.KINDS)
def test_many_threads_may_send_through_one_provider(kind: str) -> None:
    accepted: list[str] = []
    with esps.esp(kind) as esp:

        def send() -> None:
            for _ in range(5):
                accepted.extend(result.verdict for result in esp.provider.send(small(2)))
            connections.close_all()

        threads = [threading.Thread(target=send) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    assert accepted == ["accepted"] * 60
