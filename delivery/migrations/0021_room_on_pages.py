from django.db import migrations


class Migration(migrations.Migration):
    """Leave room on each page, so that what providers tell of a message need not touch indexes.

    PostgreSQL writes a changed row beside its old version if there is room and no indexed column
    changed. Pages written before keep their density until they are rewritten.
    """

    dependencies = [("delivery", "0020_people_for_sure")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE delivery_message SET (fillfactor = 90)",
            "ALTER TABLE delivery_message RESET (fillfactor)",
        ),
    ]
