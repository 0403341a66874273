from datetime import timedelta
from typing import Any

from django.db import migrations

MINUTE = timedelta(minutes=1)
TYPES = [
    # name, label, stream, deadline and alert, expires after
    ("password_reset", "Password reset", "critical", MINUTE, timedelta(minutes=30)),
    ("order_confirmation", "Order confirmation", "transactional", 2 * MINUTE, timedelta(days=1)),
    ("welcome", "Welcome", "transactional", 5 * MINUTE, timedelta(days=1)),
    ("invoice", "Invoice", "transactional", 5 * MINUTE, timedelta(days=3)),
    ("support", "Support", "transactional", 5 * MINUTE, timedelta(days=1)),
    ("shipping_update", "Shipping update", "transactional", 10 * MINUTE, timedelta(days=1)),
    ("marketing", "Marketing", "marketing", 60 * MINUTE, timedelta(days=1)),
]


def add_types(apps: Any, schema_editor: Any) -> None:
    message_type = apps.get_model("delivery", "MessageType")
    for name, label, stream, deadline, expires_after in TYPES:
        message_type.objects.get_or_create(
            name=name,
            defaults={
                "label": label,
                "stream": stream,
                "deadline": deadline,
                "alert_after": deadline,
                "expires_after": expires_after,
            },
        )


class Migration(migrations.Migration):
    dependencies = [("delivery", "0004_mail_and_lanes")]

    operations = [migrations.RunPython(add_types, migrations.RunPython.noop)]
