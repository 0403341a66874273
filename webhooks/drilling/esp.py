"""The providers' side of the drill: the sandbox's own API, asked from outside like anybody's."""

from __future__ import annotations

from typing import Any

import requests

QUIET = {
    **dict.fromkeys(("bounce", "soft_bounce", "block", "drop", "defer", "complaint"), 0),
    **dict.fromkeys(("unsubscribe", "click", "machine_click", "machine_open"), 0),
    "open": 0.3,
    "delivery": 1,
    "event_latency": 0.1,
    "webhook_drop": 0,
    "webhook_double": 0.1,
    "webhook_attempts": 20,
    "webhook_backoff": 0.2,
}
"""How it behaves unless a scenario says otherwise: all mail arrives, some is told twice."""
_PAGE = 5000


class Esp:
    """All sandboxed providers together."""

    def __init__(self, url: str) -> None:
        self.url = url

    def is_up(self) -> bool:
        """Say whether it answers."""
        return answers(f"{self.url}/_sandbox/stats")

    def behave(self, **options: Any) -> None:
        """Let it behave as usual but for these options; no faults are ordered then."""
        self._ask("PUT", "options", {**QUIET, **options})
        self._ask("DELETE", "faults")

    def fail(self, fault: str, account: str, *, calls: int = 0, share: float = 0.0) -> None:
        """Let the next calls to an account, or a share of all of them, go wrong."""
        order = {"calls": calls} if calls else {"share": share}
        self._ask("PUT", "faults", {"fault": fault, "account": account, **order})

    def mails(self, after: int = 0) -> list[dict[str, Any]]:
        """Return all that was accepted after that mail, oldest first, without bodies."""
        mails: list[dict[str, Any]] = []
        while True:
            last = mails[-1]["id"] if mails else after
            page = self._ask("GET", f"messages?bodies=0&limit={_PAGE}&after={last}")
            if not page:
                return mails
            mails += page

    def is_telling(self) -> bool:
        """Say whether events wait to be posted."""
        return bool(self._ask("GET", "stats")["pending_events"])

    def _ask(self, method: str, what: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.url}/_sandbox/{what}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()


def answers(url: str) -> bool:
    """Say whether somebody is there who answers 200."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
