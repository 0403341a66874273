"""A real Dovecot on loopback, with one mailbox and a certificate of its own."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = 'p "ss\\word'

_CONFIG = """
base_dir = {top}/run
state_dir = {top}/state
log_path = {top}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{top}/cert.pem
ssl_key = <{top}/key.pem
ssl_dh =
disable_plaintext_auth = no
mail_location = maildir:{top}/mail
mail_plugins =
first_valid_uid = 1
{internal}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {top}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={top}/home
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
"""


@dataclass(frozen=True, slots=True)
class Dovecot:
    port: int
    tls_port: int
    certificate: Path
    mail: Path

    def put(self, *bodies: bytes) -> None:
        """Let mails arrive."""
        for body in bodies:
            name = f"{time.time_ns()}.{os.getpid()}.test"
            (self.mail / "tmp" / name).write_bytes(body)
            (self.mail / "tmp" / name).chmod(0o666)
            (self.mail / "tmp" / name).rename(self.mail / "new" / name)

    def forget_numbers(self) -> None:
        """Give all mails new numbers, as after a restore of the mailbox."""
        for path in self.mail.glob("dovecot*"):
            path.unlink()

    @property
    def unread(self) -> int:
        names = [path.name for kind in ("new", "cur") for path in (self.mail / kind).iterdir()]
        return sum("S" not in name.partition(":2,")[2] for name in names)


@contextmanager
def dovecot() -> Iterator[Dovecot]:
    """Run a server while the block runs. It needs Debian's dovecot-imapd."""
    binary = shutil.which("dovecot") or "/usr/sbin/dovecot"
    assert Path(binary).exists(), "Install dovecot-imapd: the mailbox tests talk to a real server."
    top = Path(tempfile.mkdtemp(prefix="dovecot-"))
    top.chmod(0o755)
    port, tls_port = _free_port(), _free_port()
    _write(top, port, tls_port)
    server = subprocess.Popen(
        [binary, "-F", "-c", str(top / "dovecot.conf")], stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, server, top / "log")
        yield Dovecot(port, tls_port, top / "cert.pem", top / "mail")
    finally:
        server.terminate()
        server.wait(timeout=20)
        shutil.rmtree(top, ignore_errors=True)


def _write(top: Path, port: int, tls_port: int) -> None:
    user = getpass.getuser() if os.getuid() else "nobody"
    person = pwd.getpwnam(user)
    internal = ""
    if os.getuid():
        internal = f"default_internal_user = {user}\ndefault_login_user = {user}\n"
        internal += f"default_internal_group = {person.pw_gid}"
    for folder in ("mail", "mail/new", "mail/cur", "mail/tmp", "home", "state"):
        (top / folder).mkdir()
        os.chown(top / folder, person.pw_uid, person.pw_gid)
    (top / "users").write_text(f"bounces:{{PLAIN}}{PASSWORD}\n")
    (top / "users").chmod(0o644)
    _certify(top)
    names = {"top": top, "port": port, "tls_port": tls_port, "internal": internal}
    text = _CONFIG.format(**names, uid=person.pw_uid, gid=person.pw_gid)
    (top / "dovecot.conf").write_text(text)


def _certify(top: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (top / "cert.pem").write_bytes(certificate.public_bytes(encoding))
    (top / "key.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    stop_at = time.monotonic() + 30
    while time.monotonic() < stop_at and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    said = log.read_text() if log.exists() else ""
    raise AssertionError(f"Dovecot does not listen. {said}")
