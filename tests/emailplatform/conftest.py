"""Servers under a folder with an awkward name, one set for each module of tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emailplatform.embedding import Users


@pytest.fixture(scope="module")
def embedded_var() -> Iterator[Path]:
    """A folder that everybody may pass through: root's PostgreSQL runs as `nobody`."""
    top = Path(tempfile.mkdtemp(prefix="e p 100%25 "))
    top.chmod(0o755)
    yield top / "var"
    shutil.rmtree(top)


@pytest.fixture
def users(embedded_var: Path) -> Iterator[Users]:
    """Users of embedded servers; none of them runs before or after the test."""
    users = Users(embedded_var)
    yield users
    users.leave()
