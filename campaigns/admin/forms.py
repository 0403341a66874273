"""Forms that look like our pages, and the form of a template."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from campaigns import personalising, rendering
from campaigns.models import Template

_BOXES = (forms.CheckboxInput, forms.CheckboxSelectMultiple, forms.RadioSelect)


class Styled:
    """Give the fields of a form our looks; boxes keep their own."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if not isinstance(field.widget, _BOXES):
                field.widget.attrs.setdefault("class", "ui-input")


class TemplateForm(Styled, forms.ModelForm):
    """A template is saved only if every mail can be made of it."""

    class Meta:
        model = Template
        fields = ["name", "format", "subject", "preheader", "body", "text", "variables"]
        widgets = {
            "preheader": forms.TextInput({"placeholder": "Shown after the subject in the inbox"}),
            "body": forms.Textarea(attrs={"rows": 28, "spellcheck": "false", "wrap": "off"}),
            "text": forms.Textarea(attrs={"rows": 8}),
            "variables": forms.TextInput({"placeholder": "reset_url, order"}),
        }

    def clean_body(self) -> str:
        return with_plain_ends(self.cleaned_data["body"])

    def clean_text(self) -> str:
        return with_plain_ends(self.cleaned_data["text"])

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            names = [*personalising.known_names(), *data.get("variables", [])]
            constants = personalising.constants_of(None)
            for problem in rendering.problems(source_in(data), names, constants):
                self.add_error(problem.part, str(problem))
        return data


def variables_in(data: Any) -> list[str]:
    """Return the variables that a posted form says the API brings."""
    return re.findall(r"[a-z][a-z0-9_]*", data.get("variables", ""))


def with_plain_ends(text: str) -> str:
    """Return text with the line ends an author meant: browsers post CRLF, MJML takes LF only."""
    return text.replace("\r\n", "\n")


def source_in(data: Any) -> rendering.Source:
    """Return what a form, or a POST of one, says."""
    is_html = data.get("format") == Template.Format.HTML
    return rendering.Source(
        subject=data.get("subject", ""),
        preheader=data.get("preheader", ""),
        body=with_plain_ends(data.get("body", "")),
        format="html" if is_html else "mjml",
        text=with_plain_ends(data.get("text", "")),
    )
