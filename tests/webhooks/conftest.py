from __future__ import annotations

import pytest
from django.core.cache import cache

from webhooks import ingesting


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Forget accounts and counted tries of the test before."""
    ingesting.forget_listeners()
    cache.clear()
