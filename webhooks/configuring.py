"""What an account is listened to for: types of event, window, secrets. Secrets only go in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction

from delivery.models import ProviderAccount
from delivery.providers import hearing, registry
from delivery.providers.base import Account
from delivery.provisioning import split_secrets
from emailplatform.errors import InvalidInput

_PARAMS = {"webhook_types": "types", "webhook_window_min": "window_min"}


def told(account: ProviderAccount) -> dict[str, Any]:
    """Return what may be known of it: of secrets, how many there are."""
    kind = registry.KINDS[account.kind]
    spoken = kind.webhook_kind or account.kind
    plain = Account(account.pk, account.version, account.config)
    window = hearing.window_of(plain, spoken) if spoken in hearing.windows() else None
    return {
        "id": account.pk,
        "account": account.name,
        "kind": account.kind,
        "types": sorted(hearing.types_of(plain)),
        "window_min": window // timedelta(minutes=1) if window else None,
        "secrets": len(_secrets(account)),
    }


def configure(account: ProviderAccount, wish: Mapping[str, Any]) -> None:
    """Change what is wished: `types`, `window_min`, `add_secret` (the old stay) or `secrets`.

    Raises InvalidInput for what would not work; nothing is changed then.
    """
    with transaction.atomic():
        # Whoever else changes the account waits: a secret must not be lost between the two.
        held = ProviderAccount.objects.select_for_update().get(pk=account.pk)
        values = {**held.config, **held.secrets, **_settings(wish), **_new_secrets(held, wish)}
        problems = registry.problems_of(held.kind, values)
        if problems:
            name, sentence = next(iter(problems.items()))
            param = "secrets" if "secrets" in wish else "add_secret"
            raise InvalidInput(sentence, param=_PARAMS.get(name, param))
        given = {name: text for name, text in values.items() if text}
        held.config, held.secrets = split_secrets(held.kind, given)
        held.save()
    account.refresh_from_db()


def _settings(wish: Mapping[str, Any]) -> dict[str, str]:
    values = {}
    if "types" in wish:
        values["webhook_types"] = " ".join(wish["types"])
    if "window_min" in wish:
        values["webhook_window_min"] = str(wish["window_min"] or "")
    return values


def _new_secrets(account: ProviderAccount, wish: Mapping[str, Any]) -> dict[str, str]:
    if not {"secrets", "add_secret"} & set(wish):
        return {}
    stored = wish.get("secrets", _secrets(account))
    added = [wish["add_secret"]] if "add_secret" in wish else []
    lines = [*added, *(each for each in stored if each not in added)]
    return {registry.KINDS[account.kind].proved_by: "\n".join(each.strip() for each in lines)}


def _secrets(account: ProviderAccount) -> list[str]:
    name = registry.KINDS[account.kind].proved_by
    stored = {**account.config, **account.secrets}.get(name, "")
    return [line.strip() for line in stored.splitlines() if line.strip()]
