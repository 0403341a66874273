"""An explanation as plain data: what the API answers."""

from __future__ import annotations

from typing import Any

from campaigns.belonging import Belonging, InSegment, OnList
from delivery.models import Message
from delivery.tracing import Trace
from subscribers.explaining import Answer
from webhooks.explaining import Explanation
from webhooks.recounting import Moment


def plain(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as plain data."""
    facts, verdict = explanation.facts, explanation.verdict
    return {
        "campaign": facts.campaign.pk,
        "email": facts.address,
        "got_it": verdict.got_it,
        "verdict": verdict.sentence,
        "person": facts.person
        and {
            "id": facts.person.pk,
            "status": facts.person.status,
            "status_since": facts.person.status_changed_at,
            "known_since": facts.person.created_at,
        },
        "suppression": facts.suppression
        and {
            "reason": facts.suppression.reason,
            "source": facts.suppression.source,
            "since": facts.suppression.created_at,
            "stops": facts.suppression.reach,
            "until": facts.suppression.expires_at,
        },
        "audience": facts.belonging and _audience(facts.belonging),
        "message": facts.message and _message(facts.message),
        "attempts": _attempts(facts.trace),
        "earlier_attempts": facts.trace.earlier,
        "events": [_event(each) for each in facts.moments],
    }


def _audience(found: Belonging) -> dict[str, Any]:
    return {
        "is_in": found.is_in,
        "came_late": found.came_late,
        "lists": [_list(each) for each in found.lists],
        "segments": [_segment(each) for each in found.segments],
        "excluded_lists": [_list(each) for each in found.excluded_lists],
        "excluded_segments": [_segment(each) for each in found.excluded_segments],
    }


def _list(each: OnList) -> dict[str, Any]:
    return {
        "id": each.id,
        "name": each.name,
        "counts": each.counts,
        "standing": each.standing or None,
        "since": each.since,
        "source": each.source,
        "note": each.note,
    }


def _segment(each: InSegment) -> dict[str, Any]:
    rules = _answer(each.answer) if each.answer else None
    return {
        "id": each.id,
        "name": each.name,
        "counts": each.counts,
        "rules": rules,
        "note": each.problem,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"text": answer.text, "holds": answer.holds}
    if answer.parts:
        return {**told, "rules": [_answer(part) for part in answer.parts]}
    return {**told, "known": answer.known}


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": message.token,
        "status": message.status,
        "error": message.error,
        "queued_at": message.created_at,
        "due_at": message.due_at,
        "sent_at": message.sent_at,
        "provider": str(message.provider) if message.provider else None,
        "provider_message_id": message.provider_message_id,
        "attempts": message.attempts,
        "deferrals": message.deferrals,
    }


def _attempts(trace: Trace) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "at": each.at,
            "provider": str(each.provider) if each.provider else None,
            "status": each.status,
            "error": each.error,
            "was_called": each.was_called,
            "handoff": each.handoff.pk if each.handoff else None,
            "route": each.handoff.reason if each.handoff else {},
        }
        for number, each in enumerate(trace.tries, trace.earlier + 1)
    ]


def _event(moment: Moment) -> dict[str, Any]:
    event = moment.event
    return {
        "type": event.type,
        "at": event.occurred_at,
        "by_machine": event.is_machine,
        "verdict": event.verdict,
        "verdict_reason": event.machine_reason,
        "reason": event.reason,
        "bounce_class": event.bounce_class,
        "url": event.url,
        "provider": str(event.account) if event.account else None,
    }
