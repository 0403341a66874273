from django.contrib.postgres.indexes import GinIndex, HashIndex
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # indexes are built while people are imported

    dependencies = [
        ("subscribers", "0008_address_checks"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="subscriber",
            index=HashIndex(fields=["address_key"], name="subscriber_key"),
        ),
        AddIndexConcurrently(
            model_name="subscriber",
            index=GinIndex(
                condition=models.Q(("tags", []), _negated=True),
                fields=["tags"],
                name="subscriber_tagged",
            ),
        ),
        RemoveIndexConcurrently(model_name="subscriber", name="subscriber_address_key"),
        RemoveIndexConcurrently(model_name="subscriber", name="subscriber_tags"),
    ]
