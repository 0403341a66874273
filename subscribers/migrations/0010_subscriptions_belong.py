import django.db.models.deletion
from django.db import migrations, models

# What foreign keys promise, once per statement. Rows of this very transaction need no lock: nobody
# else sees them, so nobody can delete them. Of plans only those that read by keys are let through,
# whatever was there when the first one was made.
BELONG = """
CREATE FUNCTION subscribers_subscriptions_belong() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    PERFORM FROM subscribers_mailinglist
    WHERE id IN (SELECT list_id FROM fresh) ORDER BY id FOR KEY SHARE;
    PERFORM FROM subscribers_subscriber
    WHERE id IN (SELECT subscriber_id FROM fresh) AND xmin <> pg_current_xact_id()::xid
    ORDER BY id FOR KEY SHARE;
    IF EXISTS (
        SELECT FROM fresh WHERE NOT EXISTS (
            SELECT FROM subscribers_subscriber WHERE id = fresh.subscriber_id
        ) OR NOT EXISTS (
            SELECT FROM subscribers_mailinglist WHERE id = fresh.list_id
        )
    ) THEN
        RAISE foreign_key_violation USING MESSAGE =
            'A subscription names a person or a list that is not there.';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER subscriptions_belong AFTER INSERT ON subscribers_subscription
REFERENCING NEW TABLE AS fresh
FOR EACH STATEMENT EXECUTE FUNCTION subscribers_subscriptions_belong();

CREATE FUNCTION subscribers_subscription_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE foreign_key_violation USING MESSAGE =
        'A subscription keeps its person and its list: delete it and make another.';
END $$;
CREATE TRIGGER subscription_stays BEFORE UPDATE OF subscriber_id, list_id
ON subscribers_subscription FOR EACH ROW
WHEN ((OLD.subscriber_id, OLD.list_id) IS DISTINCT FROM (NEW.subscriber_id, NEW.list_id))
EXECUTE FUNCTION subscribers_subscription_stays();

CREATE FUNCTION subscribers_nothing_subscribed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'subscribers_subscriber' THEN
        PERFORM FROM subscribers_subscription WHERE subscriber_id = OLD.id LIMIT 1;
    ELSE
        PERFORM FROM subscribers_subscription WHERE list_id = OLD.id LIMIT 1;
    END IF;
    IF FOUND THEN
        RAISE foreign_key_violation USING MESSAGE =
            'There are subscriptions left of ' || TG_TABLE_NAME || ' ' || OLD.id || '.';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER nothing_subscribed AFTER DELETE ON subscribers_subscriber
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION subscribers_nothing_subscribed();
CREATE CONSTRAINT TRIGGER nothing_subscribed AFTER DELETE ON subscribers_mailinglist
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION subscribers_nothing_subscribed();
"""
BACK = """
DROP TRIGGER nothing_subscribed ON subscribers_mailinglist;
DROP TRIGGER nothing_subscribed ON subscribers_subscriber;
DROP TRIGGER subscription_stays ON subscribers_subscription;
DROP TRIGGER subscriptions_belong ON subscribers_subscription;
DROP FUNCTION subscribers_nothing_subscribed();
DROP FUNCTION subscribers_subscription_stays();
DROP FUNCTION subscribers_subscriptions_belong();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("subscribers", "0009_cheaper_indexes"),
    ]

    operations = [
        migrations.RunSQL(BELONG, BACK),
        migrations.AlterField(
            model_name="subscription",
            name="list",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="subscriptions",
                to="subscribers.mailinglist",
            ),
        ),
        migrations.AlterField(
            model_name="subscription",
            name="subscriber",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="subscriptions",
                to="subscribers.subscriber",
            ),
        ),
    ]
