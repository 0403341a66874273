"""What the domain refuses, in one family: a stable code for programs, a sentence for people."""

from __future__ import annotations

from typing import ClassVar


class DomainError(Exception):
    """The domain refuses a request. `str()` is one plain sentence that says what to do.

    `param` names the field at fault, if one is.
    """

    code: ClassVar[str] = "refused"
    http_status: ClassVar[int] = 409

    def __init__(self, message: str, *, param: str = "") -> None:
        super().__init__(message)
        self.param = param


class InvalidInput(DomainError):
    """What was given cannot be used."""

    code = "invalid"
    http_status = 400
