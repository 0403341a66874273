from __future__ import annotations

import pytest

from webhooks import ingesting


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Forget the accounts of the test before."""
    ingesting.forget_listeners()
