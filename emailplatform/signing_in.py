"""Signing in to the admin, with a limit on guessing: nobody learns here which names exist."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from unfold.forms import AuthenticationForm

from emailplatform.limiting import Tries, sender_of

WINDOW_S = 15 * 60
MOST_OF_NAME = 5
"""Failures with one user name from one address."""
MOST_OF_ADDRESS = 20
"""Failures from one address, whoever it says it is: a whole office may share it."""
TOO_MANY = "Too many failed attempts to sign in. Try again in {} min."


class SignInForm(AuthenticationForm):  # type: ignore[misc]  # unfold has no types
    """Name and password, looked at only so often."""

    wait_s = 0
    """In how many seconds to try again, if it was too often."""

    def clean(self) -> Any:
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if self.request is None or not name or not password:
            return super().clean()
        sender = sender_of(self.request)
        own = Tries("sign-in", name.casefold(), sender, most=MOST_OF_NAME, window_s=WINDOW_S)
        all_ = Tries("sign-in", sender, most=MOST_OF_ADDRESS, window_s=WINDOW_S)
        self.wait_s = max(own.begin(), all_.begin())
        if self.wait_s:
            raise ValidationError(TOO_MANY.format(-(-self.wait_s // 60)), code="too_often")
        cleaned = super().clean()
        own.forget()
        all_.take_back()
        return cleaned


def login(request: HttpRequest) -> HttpResponse:
    """The admin's login page; 429 to whoever failed too often."""
    answer: Any = admin.site.login(request)
    form = (getattr(answer, "context_data", None) or {}).get("form")
    if wait_s := getattr(form, "wait_s", 0):
        answer.status_code = 429
        answer.headers["Retry-After"] = str(wait_s)
    return answer  # type: ignore[no-any-return]
