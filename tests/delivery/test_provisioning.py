"""Provider accounts from the environment, and their secrets at rest."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from delivery.models import ProviderAccount
from delivery.provisioning import provision, smtp_values
from emailplatform.errors import InvalidInput
from emailplatform.secrets import CannotDecrypt
from tests import make

pytestmark = pytest.mark.django_db


def reader(**variables):
    return variables.get


def stored_secrets() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM delivery_provideraccount ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def test_usual_variables_become_accounts_with_encrypted_secrets():
    read = reader(
        SENDGRID_API_KEY="SG.secret",
        MAILGUN_API_KEY="key-secret",
        MAILGUN_DOMAIN="mg.example.com",
        SMTP_URL="smtp+starttls://user:p%40ss@mail.example.com",
    )

    made = provision(read)

    assert {account.kind for account in made} == {"sendgrid", "mailgun", "smtp"}
    assert not any("secret" in row or "p@ss" in row for row in stored_secrets())
    smtp = ProviderAccount.objects.get(kind="smtp")
    assert (smtp.secrets["password"], smtp.config["port"]) == ("p@ss", "587")


def test_a_kind_is_made_once_and_then_left_to_the_admin():
    provision(reader(SENDGRID_API_KEY="SG.one"))

    assert provision(reader(SENDGRID_API_KEY="SG.two")) == []

    assert ProviderAccount.objects.get().secrets["api_key"] == "SG.one"


def test_variables_that_do_not_suffice_to_send_make_nothing():
    assert provision(reader(MAILGUN_API_KEY="key", AWS_SECRET_ACCESS_KEY="x")) == []


@pytest.mark.parametrize("url", ["mail.example.com", "http://mail.example.com", "smtp://"])
def test_an_smtp_url_that_names_no_server_is_refused_in_words(url):
    with pytest.raises(InvalidInput, match="SMTP_URL must be"):
        smtp_values(url)


def test_rotating_puts_every_secret_under_the_newest_key(settings):
    account = make.account(secrets={"api_key": "SG.secret"})
    old, new = settings.ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new, old]

    call_command("rotate_secrets")

    settings.ENCRYPTION_KEYS = [new]
    account.refresh_from_db()
    assert account.secrets == {"api_key": "SG.secret"}


def test_a_missing_key_is_a_loud_error_never_an_empty_secret(settings):
    make.account(secrets={"api_key": "SG.secret"})
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    with pytest.raises(CannotDecrypt):
        ProviderAccount.objects.get()
    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("rotate_secrets")
