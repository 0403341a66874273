"""How Amazon SES is spoken to: one boto3 session for a process, and a client's options."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

from delivery.providers.base import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Account
from delivery.providers.uploading import extra_s


def client_params(account: Account) -> dict[str, Any]:
    """Return the options of a boto3 client: one try for each call, our time-outs."""
    keys = account["access_key_id"], account["secret_access_key"]
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        # A third of the call's CPU, and all values are built and vetted here.
        parameter_validation=False,
    )
    return {
        "region_name": account["region"],
        "aws_access_key_id": keys[0] or None,
        "aws_secret_access_key": keys[1] or None,
        "endpoint_url": account["endpoint_url"] or None,
        "config": config,
    }


def patient(params: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return the options of a client for a call of so many bytes."""
    longer = Config(
        connect_timeout=CONNECT_TIMEOUT_S + extra_s(size),
        read_timeout=READ_TIMEOUT_S + extra_s(size),
    )
    return {**params, "config": params["config"].merge(longer)}


class _Session:
    """The boto3 session of this process; making one costs 100 ms, and threads must take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None

    def client(self, params: Mapping[str, Any]) -> Any:
        with self._lock:
            if self._session is None:
                self._session = boto3.session.Session()
            return self._session.client("sesv2", **params)

    def forget(self) -> None:
        """Begin anew, in a forked child: another thread may have held the lock."""
        self._lock = threading.Lock()
        self._session = None


session = _Session()
os.register_at_fork(after_in_child=session.forget)
