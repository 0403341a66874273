"""The fields of a sign-up form, as its owner chose them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.utils import translation
from django.utils.translation import gettext as _

from subscribers import converting, joining
from subscribers.joining import Wish
from subscribers.models import Attribute, SignupForm
from subscribers.validating import InvalidAddress, clean_address

_READ: dict[str, Callable[[str], Any]] = {
    Attribute.Type.TEXT: converting.plain_text,
    Attribute.Type.NUMBER: converting.number,
    Attribute.Type.DATE: converting.iso_date,
    Attribute.Type.BOOLEAN: converting.boolean,
}


class SignupFields(forms.Form):
    """What one form asks for, in one language."""

    email = forms.CharField(max_length=320)

    def __init__(self, form: SignupForm, language: str, data: Any = None) -> None:
        super().__init__(data, use_required_attribute=True)
        self.form, self.language = form, language
        self.lists = list(form.lists.all())
        with translation.override(language):
            self._make_fields()

    def _make_fields(self) -> None:
        email = self.fields["email"]
        email.label = _("E-mail address")
        email.widget = forms.EmailInput({"autocomplete": "email", "inputmode": "email"})
        labels = {
            "first_name": _("First name"),
            "last_name": _("Last name"),
            **{
                f"attributes.{each.name}": each.label
                for each in Attribute.objects.all()
                if f"attributes.{each.name}" in self.form.fields
            },
        }
        autocomplete = {"first_name": "given-name", "last_name": "family-name"}
        for name, is_required in self.form.fields.items():
            if name not in labels:  # an attribute that was deleted since
                continue
            widget = forms.TextInput({"autocomplete": autocomplete.get(name, "off")})
            self.fields[name] = forms.CharField(
                max_length=100, required=is_required, label=labels[name], widget=widget
            )
        if len(self.lists) > 1:
            choices = [(str(each.pk), each.name) for each in self.lists]
            self.fields["lists"] = forms.MultipleChoiceField(
                choices=choices, label=_("Lists"), widget=forms.CheckboxSelectMultiple
            )
        for field in self.fields.values():
            field.error_messages["required"] = _("Please fill this in.")

    def clean_email(self) -> str:
        try:
            return clean_address(self.cleaned_data["email"].strip())
        except InvalidAddress as error:
            raise self._no_address() from error

    def clean(self) -> None:
        """Refuse what a list refuses: a throw-away mailbox, if its policy says so."""
        if not self.errors and joining.is_refused(self.wish()):
            self.add_error("email", self._no_address())

    def _no_address(self) -> forms.ValidationError:
        with translation.override(self.language):
            words = _("Please enter an e-mail address, like name@example.com.")
        return forms.ValidationError(words)

    def wish(self) -> Wish:
        """Return what was typed, once it is valid."""
        said = {
            name: " ".join(str(text).split())
            for name, text in self.cleaned_data.items()
            if name in self.form.fields and text
        }
        facts: dict[str, Any] = {
            name: text for name, text in said.items() if not name.startswith("attributes.")
        }
        facts["attributes"] = self._attributes(said)
        chosen = set(self.cleaned_data.get("lists", []))
        lists = [each for each in self.lists if len(self.lists) == 1 or str(each.pk) in chosen]
        return Wish(self.cleaned_data["email"], lists, self.language, facts)

    def _attributes(self, said: dict[str, str]) -> dict[str, Any]:
        """Return attributes in their types; what cannot be read as its type is left out."""
        types = dict(Attribute.objects.values_list("name", "type"))
        found = {}
        for name, text in said.items():
            prefix, _dot, attribute = name.partition(".")
            if prefix == "attributes" and attribute in types:
                value = _READ[types[attribute]](text)
                if value is not None:
                    found[attribute] = value
        return found
