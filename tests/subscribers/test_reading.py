from __future__ import annotations

import csv
import io
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailplatform.errors import InvalidInput
from subscribers.reading import LONGEST_RECORD, Records, layout_of, unique_headers
from subscribers.receiving import received


def cells_of(content: bytes, delimiter: str = ",") -> list[list[str]]:
    return [record.cells for record in Records(io.BytesIO(content), delimiter)]


def stored(content: bytes) -> tuple[bytes, str]:
    with received(io.BytesIO(content)) as got:
        kept = got.file.read()
    assert len(kept) == got.size
    return kept, got.encoding


_cell = st.text(st.sampled_from('ab,;"\n\r é\t'), max_size=6)
_rows = st.lists(st.lists(_cell, min_size=2, max_size=3), min_size=1, max_size=8)


@given(_rows, st.sampled_from(",;\t"))
def test_what_csv_wrote_comes_back_from_any_record_on(rows, delimiter):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    content = text.getvalue().encode()

    records = Records(io.BytesIO(content), delimiter)
    places, found = [(0, 0)], []
    for record in records:
        found.append(record.cells)
        places.append((records.offset, records.line))

    assert found == rows
    assert places[-1][0] == len(content)
    for done, (offset, line) in enumerate(places):
        rest = Records(io.BytesIO(content), delimiter, offset, line)
        assert [record.cells for record in rest] == rows[done:]
        assert (rest.offset, rest.line) == places[-1]


@given(st.binary(max_size=300))
def test_no_bytes_break_it_and_none_are_left_over(content):
    records = Records(io.BytesIO(content), ",")
    lines = [record.line for record in records]

    assert records.offset == len(content)
    assert lines == sorted(set(lines))


def test_a_stray_quote_costs_its_own_row_only():
    content = b'a@x.example,"never closed\nb@x.example,fine\nc@x.example,"x"y\nd@x.example,fine\n'

    found = [(record.line, record.problem) for record in Records(io.BytesIO(content), ",")]

    assert [line for line, problem in found if not problem] == [2, 4]
    assert found[0][1].startswith("a quote")
    assert found[2][1].startswith("a quote")


def test_a_quote_that_runs_to_the_end_of_a_long_file_costs_one_row():
    rows = b"".join(b"p%d@x.example,name\n" % number for number in range(20_000))

    records = list(Records(io.BytesIO(b'bad@x.example,"oops\n' + rows), ","))

    assert [record.line for record in records if record.problem] == [1]
    assert len(records) == 20_001


def test_a_line_longer_than_memory_is_refused_in_small_reads():
    class Endless(io.RawIOBase):
        """A line of 200 MB that is never held as a whole, then one good row."""

        tail = b"\nok@x.example,x\n"
        size = 200 * 1024 * 1024
        place = 0

        def readable(self):
            return True

        def seekable(self):
            return True

        def seek(self, place, whence=0):
            self.place = place
            return place

        def tell(self):
            return self.place

        def readinto(self, buffer):
            end = self.size + len(self.tail)
            count = max(0, min(len(buffer), end - self.place))
            filler = max(0, min(count, self.size - self.place))
            buffer[:filler] = b"x" * filler
            start = self.place + filler - self.size
            buffer[filler:count] = self.tail[start : start + count - filler] if start >= 0 else b""
            self.place += count
            return count

    tracemalloc.start()
    try:
        found = list(Records(io.BufferedReader(Endless()), ","))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert [record.problem for record in found] == ["longer than 1 MB", ""]
    assert found[1].cells == ["ok@x.example", "x"]
    assert peak < 8 * LONGEST_RECORD


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_rows(delimiter):
    rows = [["Name, given", "E-Mail", "Notes"], ["Gil; Ana", "a@x.example", "x|y"]] * 3
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)

    layout = layout_of(io.BytesIO(text.getvalue().encode()))

    assert layout.delimiter == delimiter
    assert layout.headers == rows[0]


def test_excels_first_line_names_the_delimiter():
    layout = layout_of(io.BytesIO("\ufeffsep=;\r\nE-Mail;Name\r\na@x.example;A,B\r\n".encode()))

    assert layout.delimiter == ";"
    assert layout.headers == ["E-Mail", "Name"]
    assert layout.line == 2
    assert layout.samples == [["a@x.example", "A,B"]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The file is empty."),
        (b"\xef\xbb\xbf \r\n\r\n", "The file is empty."),
        (b"PK\x03\x04rest", "The workbook cannot be read"),
        (b"\x1f\x8brest", "compressed"),
        (b'{"people": []}', "JSON"),
    ],
)
def test_what_is_no_csv_is_refused_in_a_sentence(content, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        stored(content)


@pytest.mark.parametrize("content", [b"E-Mail,Name\r\n", b"E-Mail,Name", b"E-Mail\n\n\n"])
def test_a_header_alone_is_refused(content):
    with pytest.raises(InvalidInput, match="nothing below it"):
        layout_of(io.BytesIO(content))


def test_a_first_line_without_end_is_refused():
    with pytest.raises(InvalidInput, match="longer than 1 MB"):
        layout_of(io.BytesIO(b"x" * (LONGEST_RECORD + 10)))


def test_a_file_beyond_the_limit_is_refused(settings):
    settings.MAX_UPLOAD_BYTES = 1 << 20

    with pytest.raises(InvalidInput, match="larger than 1 MB"):
        stored(b"x" * ((1 << 20) + 1))


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_kept_as_utf_8(codec):
    kept, encoding = stored("E-Mail\tName\r\na@x.example\tJosé\r\n".encode(codec))

    assert encoding == "utf-16"
    assert layout_of(io.BytesIO(kept)).samples == [["a@x.example", "José"]]


def test_the_line_ends_of_old_macs_are_understood():
    kept, _encoding = stored(b"E-Mail;Name\ra@x.example;A\rb@x.example;B\r")

    assert cells_of(kept, ";")[1:] == [["a@x.example", "A"], ["b@x.example", "B"]]


def test_encodings_are_told_apart_and_may_be_mixed_line_by_line():
    utf8 = "a@x.example,José\n".encode()
    latin1 = "b@x.example,Müller\n".encode("latin-1")

    assert stored(utf8)[1] == "utf-8"
    assert stored(b"\xef\xbb\xbf" + utf8)[1] == "utf-8-sig"
    assert stored(utf8 * 100_000 + latin1)[1] == "cp1252"
    assert cells_of(utf8 + latin1) == [["a@x.example", "José"], ["b@x.example", "Müller"]]


def test_column_names_are_never_empty_or_twice():
    assert unique_headers(["Name", "", "Name", "Name (2)", " x  y "]) == [
        "Name",
        "Column 2",
        "Name (2)",
        "Name (2) (2)",
        "x y",
    ]


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-16")))
def test_any_bytes_are_a_file_or_refused_in_a_sentence(content):
    with suppress(InvalidInput), received(io.BytesIO(content)) as got:
        layout = layout_of(got.file)
        assert len(set(layout.headers)) == len(layout.headers)
        assert layout.samples


def test_a_first_line_of_endless_columns_is_refused():
    with pytest.raises(InvalidInput, match="more than 500 columns"):
        layout_of(io.BytesIO(b"a," * 600 + b"\n" + b"b," * 600))
