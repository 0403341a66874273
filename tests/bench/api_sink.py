"""Minimal stand-ins of APIs that answer with one entry per message: all of them are accepted.

python -m tests.bench.api_sink KIND PORT
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
from collections.abc import Callable
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_numbers = itertools.count(1)


def _ses(body: bytes) -> Any:
    entries = range(body.count(b'"Destination"'))
    results = [{"Status": "SUCCESS", "MessageId": str(next(_numbers))} for _ in entries]
    return {"BulkEmailEntryResults": results}


def _postmark(body: bytes) -> Any:
    # A quote inside a text is escaped, so this stands before each recipient and nowhere else.
    messages = range(body.count(b'"To": '))
    return [{"ErrorCode": 0, "MessageID": str(next(_numbers)), "Message": "OK"} for _ in messages]


def _mailgun(_body: bytes) -> Any:
    return {"id": f"<{next(_numbers)}@sink.example>", "message": "Queued. Thank you."}


ANSWERS: dict[str, Callable[[bytes], Any]] = {
    "ses": _ses,
    "postmark": _postmark,
    "mailgun": _mailgun,
}


async def main(kind: str, port: int) -> None:
    """Listen for ever."""
    answer_to = ANSWERS[kind]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                text = json.dumps(answer_to(body)).encode()
                about = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
                writer.write(b"HTTP/1.1 200 OK\r\n" + about.encode() + text)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, limit=2**20)
    print(f"Sink: http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
