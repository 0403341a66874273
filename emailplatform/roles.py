"""Who may do what in the admin: four roles, written as groups by `migrate`.

The four are code, so an upgrade that brings new pages brings the rights for them too. Who needs
something in between makes a group of their own.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps

ALL = ("view", "add", "change", "delete")
_EDIT = ("view", "add", "change")

_READ = [
    "subscribers.subscriber",
    "subscribers.mailinglist",
    "subscribers.subscription",
    "subscribers.segment",
    "subscribers.signupform",
    "subscribers.import",
    "subscribers.suppression",
    "subscribers.attribute",
    "subscribers.heldsubscription",
    "subscribers.checkrun",
    "subscribers.scorerun",
    "subscribers.hygienerule",
    "subscribers.hygienerun",
    "campaigns.template",
    "campaigns.campaign",
    "delivery.provideraccount",
    "delivery.routingrule",
    "delivery.sendingdomain",
    "delivery.handoff",
    "delivery.message",
    "delivery.deadletter",
    "delivery.messagetype",
    "delivery.slabreach",
    "delivery.alert",
    "delivery.worker",
    "webhooks.rawrequest",
    "webhooks.event",
    "webhooks.endpoint",
    "webhooks.delivery",
]
VIEWER: dict[str, tuple[str, ...]] = dict.fromkeys(_READ, ("view",))
MARKETER = {
    **VIEWER,
    "subscribers.subscriber": (*_EDIT, "export"),
    "subscribers.mailinglist": _EDIT,
    "subscribers.subscription": _EDIT,
    "subscribers.segment": ALL,
    "subscribers.signupform": _EDIT,
    "subscribers.import": _EDIT,
    "subscribers.checkrun": _EDIT,
    "subscribers.hygienerule": ALL,
    "subscribers.hygienerun": _EDIT,
    "subscribers.suppression": ("view", "add"),
    "subscribers.attribute": _EDIT,
    "campaigns.template": ALL,
    "campaigns.campaign": ALL,
}
OPERATOR = {
    **VIEWER,
    "subscribers.import": _EDIT,
    "subscribers.checkrun": _EDIT,
    "subscribers.suppression": ("view", "add", "delete"),
    "subscribers.retentionrun": ("view",),
    "campaigns.campaign": ("view", "change"),
    "delivery.provideraccount": ALL,
    "delivery.routingrule": ALL,
    "delivery.sendingdomain": ALL,
    "delivery.handoff": ("view", "change"),
    "delivery.message": ("view", "change"),
    "delivery.deadletter": _EDIT,
    "delivery.messagetype": ALL,
    "delivery.mail": ("view",),
    "webhooks.rawrequest": ("view", "change"),
    "webhooks.endpoint": ALL,
    "webhooks.delivery": ("view", "change"),
    "emailplatform.apikey": _EDIT,
    "emailplatform.auditentry": ("view",),
    "django_celery_beat.periodictask": ("view", "change"),
}
_ADMIN_APPS = ("subscribers", "campaigns", "delivery", "webhooks", "emailplatform", "auth")


def _everything() -> dict[str, tuple[str, ...]]:
    """Return every right on our own models, the team and the schedules."""
    models = [m for m in apps.get_models() if m._meta.app_label in _ADMIN_APPS]
    labels = [model._meta.label_lower for model in models]
    rights: dict[str, tuple[str, ...]] = dict.fromkeys(
        [*labels, "django_celery_beat.periodictask"], ALL
    )
    rights["subscribers.subscriber"] = (*ALL, "erase", "export")
    return {**rights, "emailplatform.auditentry": ("view",)}  # nobody edits a record


def roles() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the roles: name -> model -> verbs."""
    return {
        "Viewer": VIEWER,
        "Marketer": MARKETER,
        "Operator": OPERATOR,
        "Admin": _everything(),
    }


NAMES = ("Viewer", "Marketer", "Operator", "Admin")
DESCRIPTIONS = {
    "Viewer": "Sees people, campaigns and reports; changes nothing.",
    "Marketer": "Works on people, lists, templates and campaigns, and sends them.",
    "Operator": "Looks after providers, hand-offs, webhooks, API keys and schedules.",
    "Admin": "Everything, the team included.",
}


def _key(label: str, verb: str) -> tuple[str, str]:
    app, model = label.split(".")
    return app, f"{verb}_{model}"


def write_roles(**_: Any) -> None:
    """Give each role's group exactly its rights, as the code knows them now."""
    from django.contrib.auth.models import Group, Permission

    known = Permission.objects.select_related("content_type")
    by_name = {(p.content_type.app_label, p.codename): p for p in known}
    for name, rights in roles().items():
        group, _created = Group.objects.get_or_create(name=name)
        wanted = [
            permission
            for label, verbs in rights.items()
            for verb in verbs
            if (permission := by_name.get(_key(label, verb)))  # not there yet: partly migrated
        ]
        group.permissions.set(wanted)
