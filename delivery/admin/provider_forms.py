"""The form of a provider account, built from what its kind asks for. Secrets only go in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone

from campaigns.admin.forms import Styled
from delivery import breaking
from delivery.admin.lane_limits import LaneLimitsField
from delivery.models import ProviderAccount, Stream
from delivery.models.rules import is_pattern
from delivery.providers import registry
from delivery.providers.base import Field
from delivery.provisioning import split_secrets

PREFIX = "set_"
_LONG = ("sns_certificate", *{kind.proved_by for kind in registry.KINDS.values()})
_MORE = "+"
"""Before a webhook secret: put it above the stored ones. The old ones need not be known."""
_PLACES = ("host", "port", "api_url", "endpoint_url", "security")
"""Settings that say where secrets go."""
ENTER_ANEW = "“{}” changed: enter this again, so that it goes only where you mean it to."
_LAST = 4


class ProviderForm(Styled, forms.ModelForm):
    """Name, share, limits, what routing goes by; the kind's own fields: `form_for`."""

    lane_limits = LaneLimitsField(
        label="Limits per mailbox provider",
        required=False,
        help_text=(
            "One a line: mailbox provider (gmail, microsoft, yahoo, apple, other) and rate (sec, "
            "min, hour, day); with a stream before it, for that stream only."
        ),
    )
    streams = forms.MultipleChoiceField(
        label="Mail it carries",
        choices=Stream.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="None: nothing goes through it but tests.",
    )
    sending_domains = forms.CharField(
        label="Sending domains",
        required=False,
        help_text="The domains verified there, such as example.com or *.example.com. It never "
        "carries mail from another one. Empty: any.",
    )

    class Meta:
        model = ProviderAccount
        fields = [
            *("name", "weight", "batch_size"),
            *("limit_per_second", "limit_per_hour", "limit_per_day", "lane_limits"),
            *("streams", "sending_domains", "cost_per_1000", "region"),
        ]
        labels = {
            "limit_per_second": "Per second",
            "limit_per_hour": "Per hour",
            "limit_per_day": "Per day",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["sending_domains"] = " ".join(self.instance.sending_domains)

    def clean_streams(self) -> list[str]:
        """A form that does not ask leaves them as they are."""
        if not self.data.get("asks_routing"):
            return list(self.instance.streams)
        return [str(each) for each in self.cleaned_data["streams"]]

    def clean_sending_domains(self) -> list[str]:
        words = self.cleaned_data["sending_domains"].lower().replace(",", " ").split()
        for word in words:
            is_pattern(word)
        return list(dict.fromkeys(words))

    def clean(self) -> dict[str, Any]:
        """Ask for the secrets anew if they would go to another place than they were given for.

        Otherwise whoever may change the place, but must not read the secrets, could have them sent.
        """
        cleaned = super().clean() or self.cleaned_data
        if self.instance.pk and (moved := self._moved()):
            for name in self._kept():
                self.add_error(f"{PREFIX}{name}", ENTER_ANEW.format(moved.label))
        for name, problem in registry.problems_of(self.instance.kind, self._given()).items():
            self.add_error(f"{PREFIX}{name}", problem)
        return cleaned

    def _given(self) -> dict[str, str]:
        given = {name.removeprefix(PREFIX): text for name, text in self.cleaned_data.items()}
        return {name: str(text or "").lstrip(_MORE) for name, text in given.items()}

    def has_limits(self) -> bool:
        """Say whether the account has limits: then they are shown at once."""
        names = ("limit_per_second", "limit_per_hour", "limit_per_day", "lane_limits")
        return any(getattr(self.instance, name) for name in names)

    def _moved(self) -> Field | None:
        """Return the setting by which the account now talks to another place."""
        for field in registry.KINDS[self.instance.kind].fields:
            old = self.instance.config.get(field.name, field.default)
            new = self.cleaned_data.get(f"{PREFIX}{field.name}") or field.default
            if field.name in _PLACES and new.rstrip("/") != (old or field.default).rstrip("/"):
                return field
        return None

    def _kept(self) -> list[str]:
        """Return the names of stored secrets that were left empty."""
        return [
            name
            for name, secret in self.instance.secrets.items()
            if secret and f"{PREFIX}{name}" in self.fields
            if not self.cleaned_data.get(f"{PREFIX}{name}")
        ]

    def values(self) -> dict[str, str]:
        """Return the kind's settings by name; a secret left empty stays as it was."""
        kind = registry.KINDS[self.instance.kind]
        old = self.instance.secrets
        values = {
            field.name: self.cleaned_data.get(f"{PREFIX}{field.name}", "") for field in kind.fields
        }
        kept = {name: old.get(name, "") for name in values if not values[name]}
        secret = {field.name for field in kind.fields if field.is_secret}
        values |= {name: text for name, text in kept.items() if name in secret}
        name = kind.proved_by
        if name in secret and values[name].startswith(_MORE):
            added = values[name].removeprefix(_MORE).strip()
            values[name] = f"{added}\n{old.get(name, '')}".strip()
        return {name: text for name, text in values.items() if text}

    def save(self, commit: bool = True) -> Any:
        """Store what was given. New credentials deserve a new try: it need not cool any longer."""
        account = self.instance
        account.config, account.secrets = split_secrets(account.kind, self.values())
        saved = super().save(commit)
        breaking.close(saved, "Its settings were saved.", timezone.now())
        return saved


def form_for(account: ProviderAccount, data: Any = None) -> ProviderForm:
    """Return the form of an account, with a field per setting of its kind."""
    kind = registry.KINDS[account.kind]
    fields = {f"{PREFIX}{each.name}": _field(each, account) for each in kind.fields}
    bounds = [MinValueValidator(1), MaxValueValidator(kind.max_batch)]
    form_class = type("ProviderForm", (ProviderForm,), fields)
    form: ProviderForm = form_class(data, instance=account)
    size = form.fields["batch_size"]
    size.validators += bounds
    size.help_text = (
        f"People per call, 1 to {kind.max_batch}; empty: {kind.default_batch}. "
        "A crash can leave one call in doubt."
    )
    return form


def ends(secrets: Mapping[str, str], name: str) -> str:
    """Return what may be shown of a stored secret: its last four characters, if it is long."""
    secret = secrets.get(name, "").strip()
    return f"…{secret[-_LAST:]}" if len(secret) >= 3 * _LAST else "…"


def _field(field: Field, account: ProviderAccount) -> forms.Field:
    is_stored = field.is_secret and bool(account.secrets.get(field.name))
    help_text = field.help
    if is_stored:
        kept = f"Stored, ends in {ends(account.secrets, field.name)}. Leave empty to keep it."
        if field.name == registry.KINDS[account.kind].proved_by:
            kept += " Begin with + to add to what is stored; without it, it is replaced."
        help_text = f"{help_text} {kept}".strip()
    made = forms.CharField(
        label=field.label,
        help_text=help_text,
        required=field.is_required and not is_stored,
        initial="" if field.is_secret else account.config.get(field.name, field.default),
        widget=_widget(field),
        max_length=10_000,
    )
    made.is_kept = is_stored  # type: ignore[attr-defined]  # not “optional”: there is one
    return made


def _widget(field: Field) -> forms.Widget:
    """Return an input; long values get room, secrets are neither shown nor sent back."""
    if field.name in _LONG:
        return forms.Textarea({"rows": 3, "spellcheck": "false", "autocomplete": "off"})
    if field.is_secret:
        return forms.PasswordInput({"autocomplete": "new-password"})
    return forms.TextInput({"autocomplete": "off", "spellcheck": "false"})
