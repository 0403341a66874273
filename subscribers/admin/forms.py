"""Forms about people. They read what is written as imports do: the same spelling in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any, BinaryIO

from django import forms
from django.conf import settings
from django.utils.functional import cached_property
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from emailplatform.errors import InvalidInput
from subscribers import converting, enrolling, exchanging, pasting
from subscribers.flagging import Kind, Policy
from subscribers.models import Attribute, MailingList, Subscriber, Suppression
from subscribers.querysets import Reach

PREFIX = "attribute_"
_WRONG = {
    "number": "This is no number: write it like 12 or 9.90.",
    "date": "This is no date: write it like 2026-11-23.",
}
_YES_NO = [("", "Not known"), ("yes", "Yes"), ("no", "No")]


class Converted(forms.CharField):
    """Text that `convert` makes a value of; what it cannot read gets the sentence `wrong`."""

    def __init__(self, convert: Callable[[str], Any], wrong: str, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        kwargs.setdefault("widget", UnfoldAdminTextInputWidget)
        super().__init__(**kwargs)
        self.convert, self.wrong = convert, wrong

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return ""
        converted = self.convert(text)
        if converted is None:
            raise forms.ValidationError(self.wrong)
        return converted


class Tags(forms.CharField):
    """Tags, with commas between them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=UnfoldAdminTextInputWidget, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return list(converting.tags(super().to_python(value)))


def attribute_fields(attributes: Iterable[Attribute]) -> dict[str, forms.Field]:
    """Return a form field per attribute, by the name the form has it under."""
    return {f"{PREFIX}{each.name}": _field(each) for each in attributes}


def _field(attribute: Attribute) -> forms.Field:
    convert = converting.BY_TYPE[attribute.type]
    label = attribute.label
    if attribute.type == Attribute.Type.BOOLEAN:
        widget = UnfoldAdminSelectWidget(choices=_YES_NO)
        return YesNo(convert, "Choose yes or no.", label=label, widget=widget)
    return Converted(convert, _WRONG.get(attribute.type, ""), label=label)


class YesNo(Converted):
    def prepare_value(self, value: Any) -> Any:
        return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def attributes_in(cleaned: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return a person's attributes with what the form says; an emptied field is taken away."""
    given = {
        name.removeprefix(PREFIX): value
        for name, value in cleaned.items()
        if name.startswith(PREFIX)
    }
    merged = {**known, **given}
    return {name: value for name, value in merged.items() if value != ""}


class PersonForm(forms.ModelForm):
    """What the team may write about a person. Attributes are added by `PeopleAdmin.get_form`."""

    language = Converted(
        converting.language, "Write a language like “de” or “pt-BR”.", help_text="Like de or pt-BR."
    )
    time_zone = Converted(converting.time_zone, "Write a zone like “Europe/Berlin”.")
    country = Converted(converting.country, "Write two letters, like “DE”.", max_length=2)
    tags = Tags(help_text="With commas between them.")

    class Meta:
        model = Subscriber
        fields = ["first_name", "last_name", "language", "time_zone", "country", "tags"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.instance.attributes.items():
            self.initial[f"{PREFIX}{name}"] = value

    def clean_email(self) -> str:
        try:
            address = enrolling.clean(self.cleaned_data["email"])
        except InvalidInput as error:
            raise forms.ValidationError(str(error)) from error
        if Subscriber.objects.filter(email=address).exists():
            raise forms.ValidationError(f"{address} is there already: look for it in the list.")
        return address


POLICY_FIELDS = {f"policy_{kind.value}": kind for kind in Kind}


class ListForm(forms.ModelForm):
    """A list, with what it does with addresses in doubt. `ListAdmin.get_form` adds the choices."""

    class Meta:
        model = MailingList
        fields = ["name", "description", "double_opt_in", "is_open"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, kind in POLICY_FIELDS.items():
            self.initial.setdefault(name, self.instance.policies[kind])

    def save(self, commit: bool = True) -> Any:
        self.instance.address_policy = {
            kind.value: self.cleaned_data[name] for name, kind in POLICY_FIELDS.items()
        }
        return super().save(commit)


def policy_fields() -> dict[str, forms.Field]:
    """Return a choice for each kind of flag."""
    return {
        name: forms.ChoiceField(
            choices=Policy.choices, label=str(kind.label), widget=UnfoldAdminSelectWidget
        )
        for name, kind in POLICY_FIELDS.items()
    }


class SuppressForm(forms.Form):
    """Why an address is closed for good."""

    reason = forms.ChoiceField(
        choices=[
            (Suppression.Reason.BLOCKED, "We do not want to mail them"),
            (Suppression.Reason.COMPLAINED, "They complained"),
            (Suppression.Reason.BOUNCED, "The address does not work"),
        ],
        widget=forms.RadioSelect,
        initial=Suppression.Reason.BLOCKED,
    )
    reach = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    days = forms.IntegerField(required=False, min_value=1, max_value=3650)
    note = forms.CharField(required=False, max_length=180)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lists = MailingList.objects.order_by("name").values_list("pk", "name")
        self.fields["reach"].choices = [  # type: ignore[attr-defined]
            ("", "All mail"),
            *((value, f"{label} mail only") for value, label in Suppression.Stream.choices),
            *((f"list:{pk}", f"Campaigns to “{name}” only") for pk, name in lists),
        ]

    def reach_at(self, now: datetime) -> Reach:
        """Return what mail is stopped, and until when."""
        chosen, days = self.cleaned_data["reach"], self.cleaned_data["days"]
        kind, _, key = chosen.partition(":")
        return Reach(
            stream="" if key else kind,
            list=int(key) if key else None,
            expires_at=now + timedelta(days=days) if days else None,
        )


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise forms.ValidationError(
            f"The file has {size >> 20:,} MB; at most {most >> 20:,} MB can be read at once. "
            "Split it into smaller files."
        )


class SuppressListForm(SuppressForm):
    """A file of addresses, or the one looked at before, and why where it does not say."""

    reason = forms.ChoiceField(
        choices=[
            each
            for each in Suppression.Reason.choices
            if each[0] != Suppression.Reason.SOFT_BOUNCED
        ],
        widget=forms.RadioSelect,
        initial=Suppression.Reason.BLOCKED,
    )
    note = None  # type: ignore[assignment]  # a list says itself where it comes from
    file = forms.FileField(required=False, allow_empty_file=True)
    held = forms.CharField(required=False, widget=forms.HiddenInput)

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file:
            _check_size(file.size, exchanging.MOST_BYTES)
        return file

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if not self.errors and not data.get("file") and not data.get("held"):
            self.add_error("file", "Choose a file.")
        return data


class UploadForm(forms.Form):
    """A file, or pasted rows, and the list the people go on."""

    file = forms.FileField(required=False, allow_empty_file=True)
    pasted = forms.CharField(required=False, widget=forms.Textarea, strip=False)
    list = forms.ModelChoiceField(MailingList.objects.all(), required=False)
    new_list = forms.CharField(required=False, max_length=100)

    @property
    def source(self) -> str:
        """The field the rows came in: where their problems are told."""
        return "file" if self.cleaned_data.get("file") else "pasted"

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file:
            _check_size(file.size, settings.MAX_UPLOAD_BYTES)
        return file

    def clean_new_list(self) -> str:
        name: str = self.cleaned_data["new_list"].strip()
        if MailingList.objects.filter(name=name).exists():
            raise forms.ValidationError(f"There is a list “{name}” already: choose it above.")
        return name

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if not data.get("file") and not (data.get("pasted") or "").strip() and not self.errors:
            self.add_error("file", "Choose a file, or paste addresses below.")
        if data.get("list") and data.get("new_list"):
            self.add_error("new_list", "Choose a list or name a new one, not both.")
        return data

    def content(self) -> tuple[BinaryIO, str]:
        """Return the rows and what to call them."""
        file = self.cleaned_data.get("file")
        if file:
            return file, file.name
        rows = self._addresses or self.cleaned_data["pasted"].encode()
        return BytesIO(rows), "pasted.csv"

    @property
    def is_of_addresses(self) -> bool:
        """Were addresses pasted, whose meaning is plain? A table's columns are asked for."""
        return not self.cleaned_data.get("file") and self._addresses is not None

    @cached_property
    def _addresses(self) -> bytes | None:
        return pasting.as_csv(self.cleaned_data["pasted"])
