"""Tell from messages when people have last opened or clicked."""

from django.db import migrations

FILL = """
UPDATE subscribers_subscriber s SET engaged_at = lately.at
FROM (
    SELECT subscriber_id, max(GREATEST(opened_at, clicked_at)) AS at
    FROM delivery_message
    WHERE subscriber_id IS NOT NULL AND (opened_at IS NOT NULL OR clicked_at IS NOT NULL)
    GROUP BY 1
) AS lately
WHERE s.id = lately.subscriber_id AND s.engaged_at IS NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        ("delivery", "0013_routing"),
        ("subscribers", "0005_engaged_at"),
    ]

    operations = [migrations.RunSQL(FILL, migrations.RunSQL.noop)]
