"""The short way of a provider's POST: less on the way, nothing less in the answer."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection
from django.test import Client

from tests.webhooks.esp import esp
from webhooks.models import RawRequest


@pytest.mark.django_db
def test_nothing_of_a_browser_is_read_for_a_provider(client: Client, django_assert_num_queries):
    provider = esp("postmark")
    provider.post(client, {"RecordType": "Delivery"})
    client.cookies["sessionid"] = "of-somebody"
    client.cookies["zone"] = "Europe/Lisbon"

    with django_assert_num_queries(1):
        answer = provider.post(client, {"RecordType": "Delivery"})

    assert answer.status_code == 200
    assert answer["Content-Length"] == "0"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert not answer.cookies


@pytest.mark.django_db
def test_other_addresses_go_the_usual_way(client: Client):
    answer = client.get("/api/webhooks/email/postmark/token/more")

    assert answer.status_code == 404
    assert answer["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.django_db
def test_where_https_is_demanded_it_is_demanded_of_providers(settings):
    settings.SECURE_SSL_REDIRECT = True
    provider = esp("postmark")

    plain = Client().post(provider.path, b"{}", content_type="application/json")

    assert plain.status_code == 301
    assert plain["Location"].startswith("https://")


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_died_loses_no_webhook(client: Client):
    provider = esp("postmark")
    provider.post(client, {"RecordType": "Delivery"})
    options = connection.get_connection_params()
    where = {name: options[name] for name in ("dbname", "user", "host", "port") if name in options}
    with psycopg.connect(**where, password=options.get("password")) as other:
        dead = connection.connection.info.backend_pid
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [dead])

    answer = provider.post(client, {"RecordType": "Delivery"})

    assert answer.status_code == 200
    assert RawRequest.objects.count() == 2
    assert connection.connection.info.backend_pid != dead
