"""Models of the five kinds of provider: how each answers, and what mails it makes of a call.

The substitution of each ESP is written here from its documentation, apart from the code that
builds the calls, so that the two can disagree.
"""

import base64
import email
import email.policy
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import parse_qs

from delivery.providers import registry
from delivery.providers.base import Account, Provider, ProviderError, Unavailable
from tests.delivery.providers import wire
from tests.delivery.providers.letters import small
from tests.delivery.providers.wire import Answer, HttpServer, Request, SmtpServer, says

SECRET = "a-secret-that-nobody-may-see"


@dataclass(frozen=True)
class File:
    """One attachment as its reader gets it."""

    name: str
    kind: str
    content: bytes
    content_id: str = ""


@dataclass(frozen=True)
class Letter:
    """One mail as its reader gets it."""

    email: str
    name: str
    subject: str
    html: str
    text: str
    headers: dict[str, str]
    our_id: str
    to: tuple[str, ...] = ()
    """All addresses in To, as everybody sees them; likewise cc."""
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    """Told to the provider; no reader sees it."""
    files: tuple[File, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


class Esp:
    """A provider on loopback, with an account there."""

    kind: str

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.refused: set[str] = set()
        self.provider = self.build()
        self.accept()

    def build(self, **changes: str) -> Provider:
        return registry.build(self.kind, Account(1, 1, {**self.settings(), **changes}))

    def settings(self) -> dict[str, str]:
        raise NotImplementedError

    def letters(self) -> list[Letter]:
        """Return the mails made of all calls so far."""
        return [letter for request in self.server.requests for letter in self.expand(request)]

    def expand(self, request: Request) -> Iterator[Letter]:
        raise NotImplementedError

    def accepted(self, request: Request) -> Answer:
        """Return the proper answer to a request, which takes all but `refused`."""
        raise NotImplementedError

    def accept(self) -> None:
        self.server.will(self.answer)

    def answer(self, connection: socket.socket, request: Request) -> bool:
        return self.accepted(request)(connection, request)

    def will(self, *answers: Answer) -> None:
        self.server.will(*answers)

    @property
    def calls(self) -> int:
        return len(self.server.requests)

    # Faults in the provider's own words: status and body of an answer.
    bad_recipient: bytes
    bad_recipient_status = 400
    bad_login = (401, b"Forbidden")


def said(status: int, content: Any, **headers: str) -> Answer:
    return says(status, json.dumps(content).encode(), Content_Type="application/json", **headers)


# --- SendGrid -----------------------------------------------------------------------------


class SendGridModel(Esp):
    kind = "sendgrid"
    bad_recipient = json.dumps(
        {
            "errors": [
                {
                    "message": "Does not contain a valid address.",
                    "field": "personalizations.1.to.0.email",
                    "help": None,
                }
            ]
        }
    ).encode()
    bad_login = (
        401,
        (
            b'{"errors":[{"message":"The provided authorization grant is invalid, expired, or'
            b' revoked","field":null,"help":null}]}'
        ),
    )

    def settings(self) -> dict[str, str]:
        return {"api_key": SECRET, "api_url": f"{self.server.url}v3/"}

    def accepted(self, request: Request) -> Answer:
        assert request.path == "/v3/mail/send"
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        return says(202, X_Message_Id="sg-call")

    def expand(self, request: Request) -> Iterator[Letter]:
        call = json.loads(request.body)
        assert call["tracking_settings"]["open_tracking"] == {"enable": False}
        assert call["tracking_settings"]["click_tracking"] == {"enable": False}
        assert len(call["personalizations"]) <= 1000
        assert "subscription_tracking" in call["tracking_settings"]
        for part in call["personalizations"]:
            own = part.get("substitutions", {})
            assert sum(len(f"{k}{v}".encode()) for k, v in own.items()) <= 10_000
            assert len(part["to"]) == 1 or len(call["personalizations"]) == 1

            def fill(text: str, own: dict[str, str] = own) -> str:
                for key, value in own.items():
                    text = text.replace(key, value)
                return text

            content = {one["type"]: fill(one["value"]) for one in call["content"]}
            arguments = {**call.get("custom_args", {}), **part.get("custom_args", {})}
            yield Letter(
                email=part["to"][0]["email"],
                name=part["to"][0].get("name", ""),
                subject=fill(call["subject"]),
                html=content.get("text/html", ""),
                text=content.get("text/plain", ""),
                headers=read_headers({**call.get("headers", {}), **part.get("headers", {})}),
                our_id=arguments.pop("message_id"),
                to=tuple(one["email"] for one in part["to"]),
                cc=tuple(one["email"] for one in part.get("cc", [])),
                bcc=tuple(one["email"] for one in part.get("bcc", [])),
                files=tuple(self._file(one) for one in call.get("attachments", [])),
                metadata={name.removeprefix("meta_"): text for name, text in arguments.items()},
                tags=tuple(call.get("categories", [])),
            )

    def _file(self, told: dict[str, str]) -> File:
        assert ";" not in told["type"]
        assert told.get("disposition", "attachment") == (
            "inline" if "content_id" in told else "attachment"
        )
        content = base64.b64decode(told["content"], validate=True)
        return File(told["filename"], told["type"], content, told.get("content_id", ""))


# --- Mailgun ------------------------------------------------------------------------------


class MailgunModel(Esp):
    kind = "mailgun"
    bad_recipient = (
        b'{"message": "to parameter is not a valid address. please check documentation"}'
    )

    def settings(self) -> dict[str, str]:
        return {"api_key": SECRET, "domain": "mg.example.org", "api_url": f"{self.server.url}v3"}

    def accepted(self, request: Request) -> Answer:
        assert request.path == "/v3/mg.example.org/messages"
        wanted = base64.b64encode(f"api:{SECRET}".encode()).decode()
        assert request.headers["authorization"] == f"Basic {wanted}"
        return said(200, {"id": "<call@mg.example.org>", "message": "Queued. Thank you."})

    def expand(self, request: Request) -> Iterator[Letter]:
        form, files = read_form(request)
        assert form["o:tracking-opens"] == form["o:tracking-clicks"] == ["no"]
        if "recipient-variables" not in form:
            yield self._letter(form, files, form["to"], {})
            return
        variables = json.loads(form["recipient-variables"][0])
        assert len(variables) == len(form["to"])
        assert "cc" not in form
        for to in form["to"]:
            yield self._letter(form, files, [to], variables[mailbox(to)[1]])

    def _letter(
        self, form: dict[str, list[str]], files: list[File], to: list[str], own: dict[str, str]
    ) -> Letter:
        def fill(text: str) -> str:
            return re.sub("%recipient[.]([^%]+)%", lambda match: own[match.group(1)], text)

        name, address = mailbox(to[0])
        variables = {k[2:]: fill(v[0]) for k, v in form.items() if k.startswith("v:")}
        return Letter(
            email=address,
            name=name,
            subject=fill(form["subject"][0]),
            html=fill(form.get("html", [""])[0]),
            text=fill(form.get("text", [""])[0]),
            headers={k[2:]: fill(v[0]) for k, v in form.items() if k.startswith("h:")},
            our_id=variables.pop("message_id"),
            to=tuple(mailbox(one)[1] for one in to),
            cc=tuple(mailbox(one)[1] for one in form.get("cc", [])),
            bcc=tuple(mailbox(one)[1] for one in form.get("bcc", [])),
            files=tuple(files),
            metadata=variables,
            tags=tuple(form.get("o:tag", [])),
        )


def mailbox(text: str) -> tuple[str, str]:
    """Return name and address of a mailbox as it stands in a header."""
    header = email.message_from_string(f"To: {text}", policy=email.policy.default)["To"]
    [only] = header.addresses
    return only.display_name, only.addr_spec


def addresses(text: str) -> tuple[str, ...]:
    """Return the addresses of a list of mailboxes."""
    header = email.message_from_string(f"To: {text}", policy=email.policy.default)["To"]
    return tuple(one.addr_spec for one in header.addresses)


def read_form(request: Request) -> tuple[dict[str, list[str]], list[File]]:
    """Return the fields and the files of a posted form, urlencoded or multipart."""
    kind = request.headers["content-type"]
    if kind.startswith("application/x-www-form-urlencoded"):
        return parse_qs(request.body.decode(), keep_blank_values=True), []
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    form: dict[str, list[str]] = {}
    files = []
    for part in email.message_from_bytes(
        head + request.body, policy=email.policy.HTTP
    ).iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = bytes(part.get_payload(decode=True))
        if name in ("attachment", "inline"):
            # The name is UTF-8 as it is (HTML 5), which the parser takes for lost bytes.
            filename = str(part.get_filename()).encode("utf-8", "surrogateescape").decode()
            content_id = filename if name == "inline" else ""
            files.append(File(filename, str(part["Content-Type"]), content, content_id))
        else:
            form.setdefault(name, []).append(content.decode())
    return form, files


# --- Postmark -----------------------------------------------------------------------------


class PostmarkModel(Esp):
    kind = "postmark"
    bad_recipient = b'{"ErrorCode": 300, "Message": "Invalid \'To\' address: \'x\'."}'
    bad_recipient_status = 422
    bad_login = (
        401,
        b'{"ErrorCode": 10, "Message": "Request does not contain a valid Server token."}',
    )

    def __init__(self, server: HttpServer) -> None:
        super().__init__(server)
        self.streams: list[str] = []
        """Of each mail that was read."""

    def settings(self) -> dict[str, str]:
        return {"server_token": SECRET, "api_url": self.server.url}

    def accepted(self, request: Request) -> Answer:
        assert request.path == "/email/batch"
        assert request.headers["x-postmark-server-token"] == SECRET
        return said(200, [self._entry(one) for one in json.loads(request.body)])

    def _entry(self, message: dict[str, Any]) -> dict[str, Any]:
        if any(address in message["To"] for address in self.refused):
            return {"ErrorCode": 406, "Message": "You tried to send to an inactive recipient."}
        number = message["Metadata"]["message_id"]
        return {"ErrorCode": 0, "Message": "OK", "To": message["To"], "MessageID": f"pm-{number}"}

    def expand(self, request: Request) -> Iterator[Letter]:
        messages = json.loads(request.body)
        assert len(messages) <= 500
        for message in messages:
            self.streams.append(message["MessageStream"])
            assert (message["TrackOpens"], message["TrackLinks"]) == (False, "None")
            to = addresses(message["To"])
            headers = {one["Name"]: one["Value"] for one in message["Headers"]}
            if "Message-ID" in headers:
                assert headers.pop("X-PM-KeepID") == "true"
            metadata = dict(message["Metadata"])
            assert len(metadata) <= 10
            yield Letter(
                email=to[0],
                name=first_name(message["To"]),
                subject=message["Subject"],
                html=message.get("HtmlBody", ""),
                text=message.get("TextBody", ""),
                headers=headers,
                our_id=metadata.pop("message_id"),
                to=to,
                cc=addresses(message["Cc"]) if "Cc" in message else (),
                bcc=addresses(message["Bcc"]) if "Bcc" in message else (),
                files=tuple(self._file(one) for one in message.get("Attachments", [])),
                metadata=metadata,
                tags=(message["Tag"],) if "Tag" in message else (),
            )

    def _file(self, told: dict[str, str]) -> File:
        content = base64.b64decode(told["Content"], validate=True)
        content_id = told.get("ContentID", "")
        assert not content_id or content_id.startswith("cid:")
        return File(told["Name"], told["ContentType"], content, content_id.removeprefix("cid:"))


def first_name(mailboxes: str) -> str:
    """Return the display name of the first of a list of mailboxes."""
    header = email.message_from_string(f"To: {mailboxes}", policy=email.policy.default)["To"]
    return str(header.addresses[0].display_name)


# --- Amazon SES ---------------------------------------------------------------------------


class SesModel(Esp):
    kind = "ses"
    bad_recipient = b'{"message": "Missing final \'@domain\'"}'
    bad_login = (403, b'{"message": "The security token included in the request is invalid."}')

    def settings(self) -> dict[str, str]:
        return {
            "region": "eu-west-1",
            "access_key_id": "AKIAEXAMPLE",
            "secret_access_key": SECRET,
            "endpoint_url": self.server.url,
        }

    def accepted(self, request: Request) -> Answer:
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        if request.path == "/v2/email/outbound-emails":
            return said(200, {"MessageId": "ses-single"})
        assert request.path == "/v2/email/outbound-bulk-emails"
        entries = json.loads(request.body)["BulkEmailEntries"]
        return said(200, {"BulkEmailEntryResults": [self._entry(one) for one in entries]})

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        [address] = entry["Destination"]["ToAddresses"]
        if any(refused in address for refused in self.refused):
            return {"Status": "MESSAGE_REJECTED", "Error": "Address is on the suppression list."}
        tags = {tag["Name"]: tag["Value"] for tag in entry["ReplacementTags"]}
        return {"Status": "SUCCESS", "MessageId": f"ses-{tags['message_id']}"}

    def expand(self, request: Request) -> Iterator[Letter]:
        assert len(request.body) <= 1_000_000 or request.path.endswith("outbound-emails")
        call = json.loads(request.body)
        if "Content" in call:
            yield self._single(call)
            return
        assert len(call["BulkEmailEntries"]) <= 50
        content = call["DefaultContent"]["Template"]["TemplateContent"]
        for entry in call["BulkEmailEntries"]:
            data = entry["ReplacementEmailContent"]["ReplacementTemplate"][
                "ReplacementTemplateData"
            ]
            assert len(data) <= 262_144
            own = json.loads(data)
            [to] = entry["Destination"]["ToAddresses"]
            address = email.message_from_string(f"To: {to}", policy=email.policy.default)["To"]
            headers = {one["Name"]: one["Value"] for one in entry["ReplacementHeaders"]}
            assert all(value.isascii() and value.isprintable() for value in headers.values())
            yield Letter(
                email=address.addresses[0].addr_spec,
                name=address.addresses[0].display_name,
                subject=substitute(content["Subject"], own),
                html=substitute(content.get("Html", ""), own),
                text=substitute(content.get("Text", ""), own),
                headers=read_headers(headers),
                to=(address.addresses[0].addr_spec,),
                **self._tagged(entry["ReplacementTags"]),
            )

    def _single(self, call: dict[str, Any]) -> Letter:
        raw = base64.b64decode(call["Content"]["Raw"]["Data"])
        assert raw.isascii()
        letter = read_mime(raw)
        people = call["Destination"]
        assert tuple(people["ToAddresses"]) == letter.to
        assert tuple(people.get("CcAddresses", [])) == letter.cc
        bcc = tuple(people.get("BccAddresses", []))
        return replace(letter, bcc=bcc, **self._tagged(call["EmailTags"]))

    def _tagged(self, told: list[dict[str, str]]) -> dict[str, Any]:
        """Return what message tags say: they may hold little, and nobody but us sees them."""
        tags = {tag["Name"]: tag["Value"] for tag in told}
        assert len(tags) == len(told) <= 50
        for name, value in tags.items():
            assert re.fullmatch("[A-Za-z0-9_-]{1,256}", name)
            assert re.fullmatch("[A-Za-z0-9_-]{1,256}", value)
        return {
            "our_id": tags["message_id"],
            "metadata": {k[5:]: v for k, v in tags.items() if k.startswith("meta_")},
            "tags": tuple(v for k, v in tags.items() if k.startswith("tag")),
        }


def read_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return headers that an API takes in ASCII only as their reader sees them."""
    assert all(value.isascii() for value in headers.values())
    return {name: str(make_header(decode_header(value))) for name, value in headers.items()}


def substitute(template: str, values: dict[str, str]) -> str:
    """Fill a template of SES: names in two braces, and nothing else that has two braces."""
    filled, rest = "", template
    while "{{" in rest:
        before, _, rest = rest.partition("{{")
        name, closed, rest = rest.partition("}}")
        assert closed, "an open {{"
        assert name in values, name
        assert not rest.startswith("}"), "a third brace"
        assert not before.endswith("\\"), "an escaped {{"
        filled += before + values[name]
    return filled + rest


# --- SMTP ---------------------------------------------------------------------------------


class SmtpModel(Esp):
    kind = "smtp"

    def __init__(self, server: SmtpServer) -> None:
        self.smtp = server
        self.refused = set()
        self.provider = self.build()

    def settings(self) -> dict[str, str]:
        return {"host": "127.0.0.1", "port": str(self.smtp.port), "security": "none"}

    def letters(self) -> list[Letter]:
        return [self._letter(taken) for taken in self.smtp.taken]

    def _letter(self, taken: wire.Delivered) -> Letter:
        letter = read_mime(taken.data)
        seen = {*letter.to, *letter.cc}
        return replace(letter, bcc=tuple(at for at in taken.recipients if at not in seen))

    @property
    def calls(self) -> int:
        return len(self.smtp.taken)


def read_mime(data: bytes) -> Letter:
    """Read a mail as a strict reader does."""
    mail = email.message_from_bytes(
        re.sub(rb"(?m)^\.\.", b".", data), policy=email.policy.SMTP.clone(raise_on_defect=True)
    )
    to = mail["To"].addresses
    parts = [part for part in mail.walk() if not part.is_multipart()]
    texts = {
        part.get_content_type(): bytes(part.get_payload(decode=True)).decode().replace("\r\n", "\n")
        for part in parts
        if part.get_content_disposition() is None
    }
    headers = {name: str(value) for name, value in mail.items()}
    return Letter(
        email=to[0].addr_spec,
        name=to[0].display_name,
        subject=headers["Subject"],
        html=texts.get("text/html", ""),
        text=texts.get("text/plain", ""),
        headers=headers,
        our_id=headers["Message-ID"].strip("<>").partition("@")[0],
        to=tuple(one.addr_spec for one in to),
        cc=tuple(one.addr_spec for one in mail["Cc"].addresses) if "Cc" in mail else (),
        files=tuple(_file(part) for part in parts if part.get_content_disposition()),
    )


def _file(part: Any) -> File:
    content_id = str(part.get("Content-ID", "")).strip("<>")
    assert part.get_content_disposition() == ("inline" if content_id else "attachment")
    content = bytes(part.get_payload(decode=True))
    return File(str(part.get_filename()), str(part["Content-Type"]), content, content_id)


HTTP = (SendGridModel, MailgunModel, PostmarkModel, SesModel)
MODELS: dict[str, Callable[..., Esp]] = {model.kind: model for model in (*HTTP, SmtpModel)}
HTTP_KINDS = tuple(model.kind for model in HTTP)
KINDS = tuple(MODELS)


@contextmanager
def esp(kind: str) -> Iterator[Esp]:
    """Run a model of a provider and give an account there."""
    running: Any = wire.smtp_server() if kind == "smtp" else wire.http_server()
    with running as server:
        yield MODELS[kind](server)


# --- Failing ------------------------------------------------------------------------------


def failure_of(provider: Provider, people: int = 2) -> ProviderError:
    """Return the error that sending a small batch ends in."""
    try:
        results = list(provider.send(small(people)))
    except ProviderError as error:
        return error
    raise AssertionError(f"No error came, but {results}.")


def check_not_connected(error: ProviderError, words: str) -> None:
    """Check that the error says: nothing was sent, and it is not the settings' fault."""
    assert isinstance(error, Unavailable)
    assert not error.is_account_fault
    assert words in str(error)
