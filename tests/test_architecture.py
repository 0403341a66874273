"""Rules of the whole that no linter knows: each test reads the code or asks the running product."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from django.template import engines
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from delivery import provisioning
from emailplatform.celery import SCHEDULE, app
from emailplatform.management.commands import run

ROOT = Path(__file__).resolve().parent.parent
APPS = ("emailplatform", "subscribers", "campaigns", "delivery", "webhooks")
SOURCES = sorted(
    path for name in APPS for path in (ROOT / name).rglob("*.py") if "migrations" not in path.parts
)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


# --- Nothing is open by accident ----------------------------------------------------------

OPEN = {
    "/": "leads to the admin",
    "/health": "for load balancers",
    "/admin/login/": "the way in",
    "/admin/logout/": "the way out",
    "/api/schema/": "documentation",
    "/api/docs/": "documentation",
    "/api/webhooks/email/health": "for whoever watches",
    "/api/webhooks/email/x": "providers sign what they post",
    "/api/webhooks/email/x/x": "providers sign what they post",
    "/u/x/": "recipients have a signed link",
    "/v/x/": "recipients have a signed link",
    "/p/x/": "recipients have a signed link",
    "/s/x/": "who signed up has a signed link",
    "/f/x/": "anybody may sign up",
    "/api/": "says that there is nothing",
}
_SAMPLES = {"email": "a@example.com"}


def _addresses(patterns: list[Any], before: str = "/") -> Iterator[str]:
    for each in patterns:
        path = before + _sample(str(each.pattern))
        if isinstance(each, URLResolver):
            yield from _addresses(each.url_patterns, path)
        elif isinstance(each, URLPattern):
            yield path


def _sample(pattern: str) -> str:
    """Return an address that fits: 1 for numbers, x for words."""
    named = re.sub(r"\(\?P<(\w+)>([^()]*)\)", _sample_of, pattern)
    plain = re.sub(r"<(int:)?\w+:?(\w+)?>", lambda m: "1" if m[1] else "x", named)
    return re.sub(r"[\^$?]|/\?$|\\Z", "", plain).replace(r"\.", ".")


def _sample_of(found: re.Match[str]) -> str:
    is_number = found[2].startswith("[0-9]")
    return _SAMPLES.get(found[1], "1" if is_number else "x")


ADDRESSES = sorted(set(_addresses(get_resolver().url_patterns)))


def test_the_addresses_are_read_from_the_product() -> None:
    assert len(ADDRESSES) > 100
    assert {"/api/v1/campaigns/x/send/", "/admin/campaigns/template/"} <= set(ADDRESSES)
    assert {each for each in OPEN if "/x" not in each or each == "/u/x/"} <= set(ADDRESSES)


@pytest.mark.django_db
def test_every_address_needs_somebody_who_may_open_it() -> None:
    client = Client(raise_request_exception=False)
    unguarded = []
    for address in ADDRESSES:
        if address.rstrip("/") in {each.rstrip("/") for each in OPEN}:
            continue
        for answer in (client.get(address), client.post(address)):
            is_sent_to_login = answer.status_code == 302 and "/login" in answer["Location"]
            if not is_sent_to_login and answer.status_code not in {401, 403, 405}:
                unguarded.append((address, answer.status_code))

    assert unguarded == []


# --- A status moves along its table, and the database decides -----------------------------

_MOVERS = {
    "emailplatform/states.py": "move_to itself",
    "delivery/models/accounts.py": "ProviderAccount: a switch of the operator, not a state machine",
}


def _assigned(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        if any(isinstance(each, ast.Attribute) and each.attr == "status" for each in node.targets):
            yield node.lineno


def test_no_status_is_assigned_and_saved() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path, tree in TREES.items()
        for line in _assigned(tree)
    }

    assert {place for place in found if place.split(":")[0] not in _MOVERS} == set()


def _updates_status(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "update":
            continue
        if any(keyword.arg == "status" for keyword in node.keywords):
            yield node.lineno


def test_only_querysets_and_models_write_a_status() -> None:
    """Others call move_to, or a queryset method whose UPDATE names the states it may start from."""
    allowed = {"models.py", "querysets.py", "states.py", "leaving.py"}
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path, tree in TREES.items()
        if path.name not in allowed and path.parent.name not in {"models", "querysets"}
        for line in _updates_status(tree)
    }

    assert found == set()


# --- What is queued is worked on ----------------------------------------------------------


def _compose() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return composed


def test_every_queue_has_workers_in_make_run_and_in_compose() -> None:
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    used = routed | {settings.CELERY_TASK_DEFAULT_QUEUE}

    local = {queue for _, queues in run.WORKERS.values() for queue in queues.split(",")}
    commands = [service.get("command") or "" for service in _compose()["services"].values()]
    composed = {
        queue
        for command in commands
        for names in re.findall(r"-Q (\S+)", str(command))
        for queue in names.split(",")
    }

    assert used <= local
    assert local == composed


def test_the_routes_name_tasks_that_exist() -> None:
    exact = {name for name in settings.CELERY_TASK_ROUTES if "*" not in name}

    assert exact <= _our_tasks()


def _our_tasks() -> set[str]:
    app.loader.import_default_modules()
    return {name for name in app.tasks if name.split(".")[0] in APPS}


def test_the_schedule_names_tasks_that_exist() -> None:
    assert {task for task, _every in SCHEDULE.values()} <= _our_tasks()


def test_every_task_is_scheduled_or_started_somewhere() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    scheduled = {task for task, _every in SCHEDULE.values()}
    idle = {
        task
        for task in _our_tasks() - scheduled
        if not re.search(
            rf"\b{task.rpartition('.')[2]}\.delay|nudge\((\w+\.)?{task.rpartition('.')[2]}\)", text
        )
    }

    assert idle == set()


# --- Tables, templates, settings ----------------------------------------------------------


@pytest.mark.django_db
def test_migrations_match_the_models() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize(
    "name",
    sorted(str(p.relative_to(ROOT / "templates")) for p in (ROOT / "templates").rglob("*.html")),
)
def test_every_template_compiles(name: str) -> None:
    engines["django"].get_template(name)


def _read_variables() -> set[str]:
    """Return every environment variable that the code names."""
    names = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = ast.unparse(node.func)
                if called in {"_key", "os.environ.get"} or called.startswith("env."):
                    names.add(str(node.args[0].value))
    provided = {name for fields in provisioning._VARIABLES.values() for name in fields.values()}
    return {name for name in names | provided | {"SMTP_URL"} if name.isupper()}


NOT_OURS = {"NO_COLOR", "DJANGO_SETTINGS_MODULE", "ORIGINAL_RECIPIENT"}
ELSEWHERE = {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
"""Read by compose.yaml alone."""


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)`", page, re.MULTILINE))

    read = _read_variables() - NOT_OURS
    assert len(read) > 30
    assert read - documented == set(), "not in docs/configuration.md"
    assert documented - read - ELSEWHERE == set(), "documented, but nothing reads it"


def test_the_example_for_production_names_only_variables_there_are() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))

    assert named <= _read_variables() | ELSEWHERE


def test_links_between_the_documents_lead_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        broken += [
            f"{page.relative_to(ROOT)}: {target}"
            for target in targets
            if "://" not in target and not (page.parent / target).exists()
        ]

    assert broken == []


def test_the_tests_that_documents_name_are_there() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    named = set(
        re.findall(r"`((?:tests|delivery|subscribers|webhooks|campaigns)/[\w/]+\.py)", pages)
    )

    assert len(named) > 10
    assert {path for path in named if not (ROOT / path).exists()} == set()
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", pages):
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


# --- Shape --------------------------------------------------------------------------------

TOP_LEVEL = {
    "locale",
    *("manage.py", "pyproject.toml", "emailplatform", "campaigns", "subscribers", "delivery"),
    *("webhooks", "templates", "static", "tests", "Dockerfile", "Makefile", "README.md"),
    *("CHANGELOG.md", "docs", "demo", "compose.yaml", ".env.example", ".ci", ".gitignore"),
    *(".dockerignore", "requirements.txt", "requirements-dev.txt", "requirements-local.txt"),
}


def _tracked() -> list[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def test_the_top_level_is_what_it_should_be() -> None:
    assert {path.split("/")[0] for path in _tracked()} == TOP_LEVEL


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }

    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = {"utils", "helpers", "services", "managers", "signals", "mixins", "common", "misc"}

    assert {str(path) for path in SOURCES if path.stem in vague} == set()
