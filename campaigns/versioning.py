"""Templates as they were: mail sent by API keeps what its template said when it was accepted."""

from __future__ import annotations

import hashlib
import json

from campaigns.models import Template, TemplateVersion


def version_of(template: Template) -> TemplateVersion:
    """Return the template's content as of now, frozen; the same content is stored once."""
    parts = {
        "format": template.format,
        "subject": template.subject,
        "preheader": template.preheader,
        "body": template.body,
        "text": template.text,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    # First looked up: to insert in vain would draw a number and lock for every mail.
    known = TemplateVersion.objects.filter(digest=digest).first()
    if known is not None:
        return known
    return TemplateVersion.objects.get_or_create(
        digest=digest, defaults={**parts, "template": template}
    )[0]
