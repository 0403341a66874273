"""A template of a user can neither reach out nor run away: SEC-9."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Literal

import pytest

from campaigns.rendering import Source, TemplateProblem, compile_source

NAMES = ["first_name", "attributes", "plan", "tags"]
PERSON = {
    "first_name": "Ana",
    "plan": "pro",
    "tags": ["a", "b"],
    "attributes": {"plan": "pro", "tags": ["a", "b"]},
}

REACHING = [
    "{{ first_name.__class__ }}",
    "{{ first_name['__class__'] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ first_name|attr('__class__') }}",
    "{{ tags|map(attribute='__class__')|list }}",
    "{{ tags|map('attr', '__class__')|list }}",
    "{{ tags|sort(attribute='__class__') }}",
    "{{ tags|groupby('__class__') }}",
    "{{ tags|sum(attribute='__class__') }}",
    "{{ tags|selectattr('__class__')|list }}",
    "{{ '{0.__class__}'.format(first_name) }}",
    "{{ '%s'.__mod__(1) }}",
    "{{ ('{0.__class__}'|safe).format(first_name) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ range.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__ }}",
    "{{ namespace.__init__ }}",
    "{% set n = namespace() %}{{ n.__class__ }}",
    "{% set n = namespace() %}{{ n._Namespace__attrs }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% for x in tags %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in tags %}{{ loop._iterable }}{% endfor %}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ dict.fromkeys(tags) }}",
    "{{ dict.__base__ }}",
    "{{ tags.append(1) }}",
    "{{ tags.clear() }}",
    "{{ attributes.update({'plan': 'x'}) }}",
    "{{ attributes.pop('plan') }}",
    "{{ attributes.setdefault('x', 1) }}",
    "{{ (1).to_bytes(50000000, 'big') }}",
    "{{ (1).__add__ }}",
    "{{ (1.5).hex() }}",
    "{{ first_name.encode() }}",
    "{{ first_name.translate({65: 'x'}) }}",
    "{{ first_name() }}",
    "{{ tags() }}",
    "{{ range }}",
    "{{ cycler(1) }}",
    "{{ namespace(a=1) }}",
    "{{ [namespace(a=1)] }}",
    "{% macro m() %}{% endmacro %}{{ m }}",
    "{{ lipsum() }}",
    "{{ tags|random }}",
    "{{ tags|pprint }}",
    "{{ first_name|urlize }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% extends 'x' %}",
    "{% block x %}{% endblock %}",
]

BIG = "{% set big = 'x' * 500000 %}"
EXPENSIVE = [
    "{{ 'a' * 50000000 }}",
    "{{ 50000000 * 'a' }}",
    "{{ 'a' * 1000 * 1000 }}",
    "{{ [1] * 50000000 }}",
    "{{ ('a' * 1000) * 1000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ 2 ** 1000000 }}",
    "{{ (2 ** 200) * (2 ** 200) }}",
    "{% set x = 10 ** 60 %}{% set x = x * x %}{% set x = x * x %}{{ x * x }}",
    "{{ 9.9 ** 9999 }}",
    "{{ range(100000000)|sum }}",
    "{{ range(1000000)|list }}",
    "{{ range(10001)|length }}",
    "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
    "{% for a in range(10000) if a > 99999 %}{% endfor %}{% for a in range(2) %}{% endfor %}",
    "{% for a in range(101) %}{% for b in range(100) %}{{ b }}{% endfor %}{% endfor %}",
    "{% for a in range(5000) %}{{ range(10000)|sum }}{% endfor %}",
    "{% for a in range(5000) %}{% if 1 in range(10000) %}{% endif %}{% endfor %}",
    "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% for a in [[1, 1], [1, 1]] recursive %}{{ loop([a, a]) }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    (
        "{% macro m() %}{{ caller() }}{% endmacro %}"
        "{% macro r() %}{% call m() %}{{ r() }}{% endcall %}{% endmacro %}{{ r() }}"
    ),
    "{{ 'a'|center(50000000) }}",
    "{{ 'a'|indent(50000000, true) }}",
    "{{ ('a\n' * 10000)|indent(1000) }}",
    "{{ 'a'|indent('x' * 400000, true) }}",
    "{{ ('a\n' * 10000)|indent(width='x' * 1000) }}",
    "{{ '%50000000d' % 1 }}",
    "{{ '%*d' % (50000000, 1) }}",
    "{{ '%.50000000f' % 1 }}",
    "{{ '%0000050000000d' % 1 }}",
    "{{ '%50000000s'|format('a') }}",
    "{{ ('%s' * 1000)|format('a') }}",
    BIG + "{{ ('%(a)s' * 100)|format(a=big) }}",
    BIG + "{{ '%s%s%s' % (big, big, big) }}",
    "{{ '{:50000000}'.format(1) }}",
    "{{ ('a' * 1000)|replace('a', 'b' * 10000) }}",
    "{{ ('a' * 1000).replace('a', 'b' * 10000) }}",
    "{{ ('a' * 1000)|replace('', 'b' * 10000) }}",
    "{{ ('x' * 100000).join(range(10000)|map('string')) }}",
    "{{ range(10000)|join('x' * 100000) }}",
    "{{ 'a'|batch(50000000, 'x')|list }}",
    "{{ 'a'|slice(50000000, 'x')|list }}",
    "{{ 1.5|round(50000000, 'ceil') }}",
    "{{ 'a'|wordwrap(1, wrapstring='x' * 1000) }}",
    "{{ tags|tojson(indent=50000000) }}",
    "{{ ('9' * 500000)|int }}",
    "{{ ('f' * 500000)|int(base=16) }}",
    "{{ [[1]]|sum(start=[]) }}",
    "{{ 'x'.ljust(50000000) }}",
    "{{ 'x'.zfill(50000000) }}",
    "{{ '\t'.expandtabs(50000000) }}",
    "{{ lipsum(50000) }}",
    "{{ ('<!-- -->' * 50000)|striptags }}",
    "{% set x = 'xxxxxxxxxxxxxxxx' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
    "{% set x = 'xxxxxxxxxxxxxxxx' %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
    "{% set x = 'xx' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40 + "{{ x }}",
    "{% set x = 'xx' %}" + "{% set x = '%s%s' % (x, x) %}" * 40 + "{{ x }}",
    "{% set x = 'xx' %}" + "{% set x = [x, x]|join %}" * 40 + "{{ x }}",
    "{% set x = 'xx' %}" + "{% set x = x|replace('x', 'xx') %}" * 40 + "{{ x }}",
    "{% set x = [1, 1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
    "{% set x = (1, 1) %}" + "{% set x = (x, x) %}" * 40 + "{{ x|length }}",
    "{% set x = {1: 1} %}" + "{% set x = {1: x, 2: x} %}" * 40 + "{{ x|tojson }}",
    "{% set x = [1, 1] %}" + "{% set x = x + x %}" * 40 + "{{ x|length }}",
    "{% set x = [1] %}{% set y = [1] %}"
    + "{% set x = [x, x] %}{% set y = [y, y] %}" * 30
    + "{{ x == y }}",
    (
        "{% set n = namespace(x=[1]) %}{% for i in range(10000) %}"
        "{% set n.x = [n.x] %}{% endfor %}{{ n.x }}"
    ),
    (
        "{% set n = namespace(x='xx') %}{% for i in range(50) %}"
        "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
    ),
    BIG + "{% for i in range(10000) %}{{ big|upper|length }}{% endfor %}",
    BIG + "{% for i in range(10000) %}{% if big == big|lower %}{% endif %}{% endfor %}",
    BIG + "{% for i in range(10000) %}{% if 'y' in big %}{% endif %}{% endfor %}",
    BIG + "{% for i in range(10000) %}{% set y = big[1:] %}{% endfor %}",
    BIG + "{% for i in range(10000) %}{% set y %}{{ big }}{% endset %}{% endfor %}",
    BIG + "{% for i in range(10000) %}{% set y = big ~ i %}{% endfor %}",
    BIG + "{% for i in range(10000) %}{{ big }}{% endfor %}",
    BIG + "{% for c in big %}{{ c }}{% endfor %}",
    BIG + "{{ big|list|length }}",
    BIG + "{{ big|sort }}",
    BIG + "{{ big|map('upper')|join }}",
    BIG + "{{ big.split('x')|length }}{{ big.split('x')|length }}{{ big.split('x')|length }}",
    BIG + "{% macro m(a) %}{{ a }}{% endmacro %}{% for i in range(999) %}{{ m(big) }}{% endfor %}",
    "{% filter upper %}" * 3 + "{% for i in range(9999) %}" + "x" * 90 + "{% endfor %}"
    "{% endfilter %}" * 3,
    "{% for i in range(10000) %}" + "{{ first_name }}" * 800 + "{% endfor %}",
    "{% for i in range(10000) %}" + "{% if i == -1 %}{% endif %}" * 800 + "{% endfor %}",
    "{% for i in range(10000) %}" + "x" * 60 + "{% endfor %}",
    "{{ tags|map('map', 'map', 'map', 'map', 'map', 'upper')|list }}",
    "{{ range(10000)|map(attribute='" + "a." * 50000 + "a')|list }}",
    "{{ cycler(*range(10000)).next() }}" * 400,
]

NESTED = [
    "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "{{ " + "[" * 5_000 + "]" * 5_000 + " }}",
    "{{ " + "not " * 10_000 + "1 }}",
    "{{ " + "-" * 10_000 + "1 }}",
    "{{ 1" + " + 1" * 9_000 + " }}",
    "{{ a" + ".a" * 9_000 + " }}",
    "{{ a" + "|upper" * 9_000 + " }}",
    "{% if 1 %}" * 2_000 + "{% endif %}" * 2_000,
    "{% for a in 'a' %}" * 30 + "{% endfor %}" * 30,
    "{{ 1 }}" * 50_000,
    "{{ [" + "1," * 100_000 + "] }}",
    "{{ '" + "9" * 900_000 + "' }}",
    "{{ " + "9" * 900_000 + " }}",
    '{{ "' + '\\"' * 400_000,
    "{{ 1" + "0" * 5_000 + " }}",
    "{" * 900_000,
    "%" * 900_000,
    "}" * 900_000,
    "{{" * 400_000,
    "{%" * 400_000,
    "{#" * 400_000,
    "<" * 900_000,
    "<!--" * 200_000,
    "<body '" * 100_000,
    "<a '" * 200_000,
    '<a href="' * 100_000,
    "<style>" * 100_000,
    " " * 1_000_000,
    "&" * 900_000,
    "<ul>" * 200_000,
    "<p hidden>" * 90_000,
    "<a href='{##}'>" * 60_000,
    "<a href='{{ plan }}'>" * 900,
    "<a href='{% if plan %}'>{% endif %}" * 300,
    "<a href='" + "{##}" * 200_000 + "'>",
    "<a href='" + ("{{ plan }}" + " " * 1_000) * 900 + "'>",
    "<mjml><a href='" + ("{{ plan }}" + " " * 1_000) * 900 + "'></a></mjml>",
    "<mjml><mj-body>" + "{##}" * 200_000 + "</mj-body></mjml>",
    "x" * 1_000_001,
]


MOST_SECONDS = 3
"""Of CPU: a third of it on an idle reference machine, the rest for slow and busy ones."""
MOST_BYTES = 64e6


def cost(body: str, format_: Literal["mjml", "html"] = "html") -> tuple[str, float, int]:
    """Return what is said about `body`, the seconds of CPU and the peak of bytes it took."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is used now
    before = resident("VmRSS")
    start = time.thread_time()
    said = outcome(body, format_)
    return said, time.thread_time() - start, resident("VmHWM") - before


def resident(field: str) -> int:
    """Return the bytes of memory that the kernel counts as `field` for this process."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def outcome(body: str, format_: Literal["mjml", "html"]) -> str:
    source = Source("Hello", "", body, format_, text="Hello")
    try:
        mail = compile_source(source, names=NAMES, constants={})
        return mail.render(PERSON).html
    except TemplateProblem as problem:
        return f"refused: {problem}"


@pytest.mark.parametrize("payload", REACHING)
def test_a_template_reaches_nothing_but_its_data(payload):
    said, seconds, peak = cost(payload)

    assert said.startswith("refused: Body, line 1: ")
    assert seconds < MOST_SECONDS
    assert peak < MOST_BYTES


@pytest.mark.parametrize("payload", EXPENSIVE, ids=lambda payload: payload[:60])
def test_a_template_cannot_run_away(payload):
    said, seconds, peak = cost(payload)

    assert said.startswith("refused: ") or len(said) <= 512 * 1024
    assert seconds < MOST_SECONDS
    assert peak < MOST_BYTES


@pytest.mark.parametrize("format_", ["html", "mjml"])
@pytest.mark.parametrize("payload", NESTED, ids=lambda payload: payload[:20])
def test_a_source_cannot_exhaust_the_compiler(payload, format_):
    said, seconds, peak = cost(payload, format_)

    assert said
    assert seconds < MOST_SECONDS
    assert peak < MOST_BYTES
