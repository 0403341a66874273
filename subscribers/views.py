"""Public pages about joining: the form, the confirmation, the preferences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from emailplatform.limiting import seconds_to_wait
from subscribers import confirming, consenting, guarding, joining, preferring
from subscribers.consents import Proof
from subscribers.drawing import Reach, draw, masked
from subscribers.models import Confirmation, MailingList, SignupDay, SignupForm, Subscriber
from subscribers.preferring import Choice
from subscribers.proving import proof_of
from subscribers.signing import SignupFields
from subscribers.speaking import LANGUAGES, language_of

GUESSING_RATE = "60/m"
"""Public links that were not made by us."""
AGAIN_RATE = "10/h"
"""Asking for another confirmation mail."""
_PRESSED = {"ask": "done", "old": "again"}
"""State of the confirmation page -> the one after its button was pressed."""
_METHODS = ["GET", "HEAD", "POST"]


def limited(wait: int) -> HttpResponse:
    return HttpResponse("Too many.\n", status=429, headers={"Retry-After": str(wait)})


def stranger(request: HttpRequest) -> HttpResponse:
    """Answer a link that was not made by us; who guesses is slowed down."""
    if wait := seconds_to_wait(request, "public-links", GUESSING_RATE):
        return limited(wait)
    return draw(request, "unknown.html", language_of(request), status=404)


# --- Forms -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody at a form."""

    request: HttpRequest
    form: SignupForm
    language: str
    now: datetime

    def stop(self) -> None:
        SignupDay.objects.add(self.form.pk, self.now, "stopped")


@xframe_options_exempt
@csrf_exempt
@require_http_methods(_METHODS)
def signup(request: HttpRequest, slug: str) -> HttpResponse:
    """Show a form, or take what was filled in. The answer says nothing about the address.

    No cookie is set, so there is none to steal: the signed token of the page stands for it. Who
    posts without one (a snippet on another site) sees the page filled in, and presses its button.
    """
    form = SignupForm.objects.filter(slug=slug).first()
    if form is None:
        return stranger(request)
    language = language_of(request, default=form.language)
    visit = Visit(request, form, language, timezone.now())
    if not form.is_active:
        return _form(visit, state="closed")
    if request.method != "POST":
        return _form(visit, SignupFields(form, language))
    return _take(visit)


def _take(visit: Visit) -> HttpResponse:
    """Take what was filled in, or show it again with what is in the way."""
    request, form = visit.request, visit.form
    if request.POST.get(guarding.TRAP):
        visit.stop()
        return _thanks(visit)
    fields = SignupFields(form, visit.language, request.POST)
    obstacle = _obstacle(visit)
    if not fields.is_valid() or obstacle:
        return _form(visit, fields, obstacle=obstacle)
    if wait := guarding.seconds_to_wait(request):
        visit.stop()
        answer = _form(visit, fields, obstacle="too many")
        answer.status_code, answer["Retry-After"] = 429, str(wait)
        return answer
    text = joining.consent_text(form, visit.language)
    proof = proof_of(request, "form", visit.language, text)
    joining.sign_up(form, fields.wish(), visit.now, proof)
    return _thanks(visit)


def _obstacle(visit: Visit) -> str:
    """Return what keeps a sign-up from being taken as it is, in a word; "" for nothing."""
    said, form = visit.request.POST, visit.form
    token = said.get("token", "")
    age = guarding.age_of(form, token, visit.now)
    if age is None:
        return "old" if token else "press"
    if age < guarding.QUICKEST:
        visit.stop()
        return "quick"
    if guarding.wants_proof(form, visit.now) and not guarding.is_proof(
        token, said.get("proof", "")
    ):
        visit.stop()
        return "proof"
    return ""


def _thanks(visit: Visit) -> HttpResponse:
    if visit.form.redirect_url:
        return HttpResponseRedirect(visit.form.redirect_url)
    return _form(visit, state="thanks")


def _form(
    visit: Visit, fields: SignupFields | None = None, *, state: str = "ask", obstacle: str = ""
) -> HttpResponse:
    form, request = visit.form, visit.request
    is_framed = "embed" in request.GET
    onward = urlsplit(form.redirect_url)
    needs_proof = state == "ask" and guarding.wants_proof(form, visit.now)
    return draw(
        request,
        "form.html",
        visit.language,
        reach=Reach(
            framed_by=["'self'", *form.origins] if is_framed else (),
            posts_to=[f"{onward.scheme}://{onward.netloc}"] if onward.netloc else (),
            has_script=needs_proof,
        ),
        state=state,
        obstacle=obstacle,
        fields=fields,
        say=joining.texts_of(form, visit.language),
        token=guarding.stamp(form, visit.now),
        trap=guarding.TRAP,
        bits=guarding.BITS if needs_proof else 0,
        asks=form.lists.filter(double_opt_in=True).exists(),
        is_framed=is_framed,
        query="&embed=1" if is_framed else "",
    )


# --- Confirming --------------------------------------------------------------------------


@csrf_exempt
@require_http_methods(_METHODS)
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Ask (GET, changes nothing: scanners open links) or confirm (POST)."""
    link = confirming.link_of(token)
    if link is None:
        return stranger(request)
    now = timezone.now()
    row = confirming.find(link)
    language = language_of(request, row.language if row else "")
    state = "ask"
    if row and row.confirmed_at:
        state = "done before"
    elif row is None or link.expires_at <= now:
        state = "old"
    if request.method == "POST" and state in _PRESSED:
        if state == "old" and (wait := seconds_to_wait(request, "confirm-again", AGAIN_RATE)):
            return limited(wait)
        if row:
            _press(row, state, now, proof_of(request, "confirmation", language))
        state = _PRESSED[state]
    lists = MailingList.objects.filter(pk__in=row.lists if row else [])
    return draw(
        request,
        "confirm.html",
        language,
        state=state,
        lists=list(lists.values_list("name", flat=True)),
        address=masked(row.subscriber.email) if row else "",
        preferences=preferring.token_of(row.subscriber) if row and state == "done" else "",
    )


def _press(row: Confirmation, state: str, now: datetime, proof: Proof) -> None:
    if state == "ask":
        confirming.confirm(row, now, proof)
    else:
        confirming.ask(row.subscriber, row.lists, now, proof, row.form, is_again=True)


# --- Preferences -------------------------------------------------------------------------


def preferences_of(
    request: HttpRequest, person: Subscriber | None, evidence: dict[str, Any]
) -> HttpResponse:
    """Show a person's preferences, or save what was chosen. None: they are gone."""
    language = language_of(request, person.language if person else "")
    if person is None:
        return draw(request, "preferences.html", language, state="gone")
    now, state = timezone.now(), "ask"
    if request.method == "POST":
        proof = proof_of(request, "page", language, evidence=evidence)
        if "everything" in request.POST:
            consenting.unsubscribe(person, [], now, preferring.SOURCE, proof)
            state = "left"
        else:
            choice = _choice(request)
            preferring.save(person, choice, now, proof)
            language = choice.language or language
            state = "saved"
        person.refresh_from_db()
    return draw(
        request,
        "preferences.html",
        language,
        state=state,
        person=person,
        is_open=person.status in preferring.OPEN,
        has_left=person.status == Subscriber.Status.UNSUBSCRIBED,
        offers=preferring.offers(person),
        address=masked(person.email),
        often=preferring.OFTEN,
        rests=preferring.RESTS,
        is_resting=bool(person.paused_until and person.paused_until > now),
    )


def _choice(request: HttpRequest) -> Choice:
    """Read the page's form; what is no choice of the page is passed over."""
    rest = request.POST.get("rest", "")
    often = request.POST.get("often", "")
    language = request.POST.get("language", "")
    return Choice(
        lists={int(each) for each in request.POST.getlist("lists") if each.isdecimal()},
        language=language if language in LANGUAGES else "",
        days_between=int(often) if often.isdecimal() else 0,
        rest_days=int(rest) if rest.isdecimal() else None,
    )
