"""The steps of a draft as forms, and the small ones of deeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils import timezone

from campaigns import targeting
from campaigns.admin.forms import Styled
from campaigns.models import Campaign
from emailplatform.formats import number
from subscribers import counting
from subscribers.models import MailingList


class _Lists(forms.ModelMultipleChoiceField):
    """Lists to tick, each with how many people it has."""

    widget = forms.CheckboxSelectMultiple
    standings: Mapping[int, counting.Standing] = {}

    def label_from_instance(self, obj: Any) -> str:
        standing = self.standings.get(obj.pk)
        return f"{obj} ({number(standing.subscribed)})" if standing else str(obj)


_SPARING = {"cap_mails": 0, "cap_days": 7, "holdout_percent": 0}


class AudienceForm(forms.ModelForm):
    lists = _Lists(MailingList.objects.all(), required=False)
    excluded_lists = _Lists(MailingList.objects.all(), required=False)

    class Meta:
        model = Campaign
        fields = [
            "lists",
            "segments",
            "excluded_lists",
            "excluded_segments",
            "cap_mails",
            "cap_days",
            "holdout_percent",
        ]
        widgets = {
            **dict.fromkeys(["segments", "excluded_segments"], forms.CheckboxSelectMultiple),
            **dict.fromkeys(
                ["cap_mails", "cap_days", "holdout_percent"],
                forms.NumberInput({"class": "ui-input", "style": "flex: none; width: 80px"}),
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in _SPARING:
            self.fields[name].required = False
        known = counting.standings(list(MailingList.objects.values_list("pk", flat=True)))
        for name in ("lists", "excluded_lists"):
            self.fields[name].standings = known  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Take a number that was emptied for its usual one; what is not asked for stays."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        for name, usual in _SPARING.items():
            if data.get(name) is None and name not in self.errors:
                data[name] = usual if name in self.data else getattr(self.instance, name)
        return data

    def choice(self) -> targeting.Choice:
        """Return what is ticked, saved or not; call `is_valid` before."""
        groups = (self.cleaned_data.get(name, []) for name in self.Meta.fields[:4])
        return {**targeting.choose(*groups), **targeting.spared_by(self.instance)}


class ContentForm(Styled, forms.ModelForm):
    class Meta:
        model = Campaign
        fields = ["template", "subject", "preheader"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        template = self.instance.template
        if template:
            self.fields["subject"].widget.attrs["placeholder"] = template.subject
            self.fields["preheader"].widget.attrs["placeholder"] = template.preheader


class SettingsForm(Styled, forms.ModelForm):
    when = forms.ChoiceField(
        choices=[("now", "As soon as I press send"), ("at", "At a time")],
        widget=forms.RadioSelect,
        required=False,
    )
    send_at = forms.DateTimeField(
        required=False,
        label="Time",
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    class Meta:
        model = Campaign
        fields = [
            "name",
            "from_name",
            "from_email",
            "reply_to",
            "tracking",
            "track_opens",
            "track_clicks",
            "send_at",
        ]
        widgets = {"tracking": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("when", "at" if self.instance.send_at else "now")

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("when") != "at":
            data["send_at"] = None
        elif not data.get("send_at") and "send_at" not in self.errors:
            self.add_error("send_at", "Say when: choose a date and a time.")
        elif data.get("send_at") and data["send_at"] <= timezone.now():
            self.add_error("send_at", "This time has passed: choose one in the future.")
        return data


class TestForm(Styled, forms.Form):
    """To whom a test goes, and as whom it is written."""

    to = forms.EmailField(label="Send a test to")
    person = forms.CharField(required=False)


class NameForm(Styled, forms.Form):
    name = forms.CharField(
        label="Name of the campaign",
        max_length=200,
        help_text="Only your team sees it, for example “November newsletter”.",
        widget=forms.TextInput({"autofocus": True}),
    )


STEP_FORMS: Mapping[str, type[AudienceForm | ContentForm | SettingsForm]] = {
    "audience": AudienceForm,
    "content": ContentForm,
    "settings": SettingsForm,
}


class ProbeForm(Styled, forms.Form):
    """A test of a provider: from which address, to whom."""

    sender = forms.EmailField(
        label="From", error_messages={"required": "Write the address the test comes from."}
    )
    to = forms.EmailField(
        label="To", error_messages={"required": "Write the address the test goes to."}
    )
