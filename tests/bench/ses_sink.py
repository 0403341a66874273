"""A minimal stand-in of Amazon SES: takes every SendBulkEmail, accepts each of its entries.

python -m tests.bench.ses_sink PORT
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_numbers = itertools.count(1)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's requests until it is closed."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            count = body.count(b'"Destination"')
            ids = [str(next(_numbers)) for _ in range(count)]
            results = [{"Status": "SUCCESS", "MessageId": each} for each in ids]
            text = json.dumps({"BulkEmailEntryResults": results}).encode()
            kind = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n" + kind.encode() + text)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        writer.close()


async def main(port: int) -> None:
    """Listen for ever."""
    server = await asyncio.start_server(answer, "127.0.0.1", port, limit=2**20)
    print(f"Sink: http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
