"""Server-sent events, read out of text in any chunking (HTML Living Standard, section 9.2.6)."""

from __future__ import annotations

import codecs
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """One block of an event stream. `id` is the one that counts after it, with or without data."""

    event: str
    data: str | None
    id: str | None
    retry_ms: int | None


class Parser:
    """Takes bytes and gives the blocks that they complete.

    Lines end with LF, CRLF or CR alone, and with nothing else: JSON may hold U+2028, which
    `str.splitlines` takes for the end of a line.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self._retry: int | None = None
        self._touched = False

    def feed(self, data: bytes) -> list[Block]:
        text = self._rest + self._decoder.decode(data)
        blocks: list[Block] = []
        start = 0
        while True:
            end, following = _line_end(text, start)
            if end == -1:
                break
            block = self._line(text[start:end])
            if block is not None:
                blocks.append(block)
            start = following
        self._rest = text[start:]
        return blocks

    def _line(self, line: str) -> Block | None:
        if line == "":
            return self._dispatch()
        if line.startswith(":"):
            return None
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self._id = value
            self._touched = True
        elif field == "retry" and value.isascii() and value.isdigit():
            self._retry = int(value)
            self._touched = True
        return None

    def _dispatch(self) -> Block | None:
        if not self._data and not self._touched:
            self._event = ""
            return None
        data = "\n".join(self._data) if self._data else None
        block = Block(self._event or "message", data, self._id, self._retry)
        self._event, self._data, self._retry, self._touched = "", [], None, False
        return block


def _line_end(text: str, start: int) -> tuple[int, int]:
    newline = text.find("\n", start)
    limit = len(text) if newline == -1 else newline
    carriage = text.find("\r", start, limit)
    if carriage == -1:
        return (newline, newline + 1)
    if carriage + 1 == len(text):
        # It may be half of a CRLF.
        return (-1, start)
    return (carriage, carriage + 2 if text[carriage + 1] == "\n" else carriage + 1)
