"""What the synchronous and the asynchronous client share: everything but waiting and reading."""

from __future__ import annotations

import base64
import binascii
import inspect
import json
import os
import random
import secrets
import threading
import time as clock
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Union
from urllib.parse import quote, urlencode, urlsplit

import httpx

from ._sse import Block

Json = Union[None, bool, int, float, str, Sequence[Any], Mapping[str, Any]]
#: A JWT, or a function that makes one: it is called again before the present one expires.
Token = Union[str, Callable[[], str]]
AsyncToken = Union[str, Callable[[], Union[str, Awaitable[str]]]]
Replay = Literal["traits", "all", "none"]
Result = Literal["succeeded", "failed", "cancelled"]

#: Statuses after which the same request may succeed.
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
#: The hub sends a comment after 15 s of silence; twice that and a little means that nobody is there.
READ_TIMEOUT_S = 40.0
CONNECT_TIMEOUT_S = 10.0
#: How many events, and about how many bytes, one request carries.
BATCH_EVENTS_MAX = 500
BATCH_BYTES_MAX = 256 * 1024
#: How long a call tries again while the hub is away.
DEFAULT_TIMEOUT_S = 30.0
_INTEGER_MAX = 2**53
#: A token is replaced when this part of its life is over.
RENEWAL_PART = 0.8
#: The shortest pause between two attempts to replace the token of a stream, and the longest time that one attempt takes.
RENEWAL_PAUSE_S = 0.5
RENEWAL_TIMEOUT_S = 10.0
#: The longest pause before the life of a stream's token is looked at again.
RENEWAL_LOOK_S = 3600.0
#: The header with which the hub names the connection of a stream, for the request that replaces its token.
CONNECTION_HEADER = "runcast-connection"
#: How the hub says that a token is missing, invalid or has expired: over HTTP, and at the end of a stream.
UNAUTHORIZED = frozenset({401, 4501})
#: The detail with which the hub refuses a token that has expired.
TOKEN_HAS_EXPIRED = "The token has expired."
#: The page of a session that has not begun.
NO_PAGE: Mapping[str, Any] = {"events": []}


class RuncastError(Exception):
    """Something that the hub, or the way to it, does not let through."""


class HubError(RuncastError):
    """The hub refused a request.

    Attributes: `status` (HTTP), `code` (the protocol's word, such as `forbidden`), `detail` (what was
    expected, what came), `pointer` (RFC 6901, where in the value), `problem` (the whole answer), `retry_after_s` (how
    long the hub asks to wait before the next attempt, where it says so).
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        self.status = status
        self.problem = problem
        self.code = str(problem.get("type", "")).rsplit("/", 1)[-1].rsplit(":", 1)[-1] or str(status)
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        self.pointer = problem.get("pointer")
        super().__init__(f"{self.detail} (HTTP {status})")


class HubUnavailable(RuncastError):
    """The hub did not answer within the time that the call was given."""


@dataclass(frozen=True)
class Event:
    """One event, or a `hub.gap`: then `data` has `reason`, `after`, `offset` and, where it is known, `dropped`.

    A gap with the reason `unreadable` is an event that this client could not read: `data` has its `text`, at most 200
    characters of it.

    `offset` is the place in the session; `time` is in ms since 1970; `worker` is None for the session's own.
    `replayed` events were published before the subscription began.
    """

    type: str
    data: Any
    offset: int
    time: int
    worker: str | None = None
    id: str | None = None
    key: str | None = None
    topic: str | None = None
    replayed: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def redacts(self, offset: int) -> bool:
        """Whether this is a `redacted` event that names the offset: drop the event that you keep of it, or read it again."""
        if self.type != "redacted" or not isinstance(self.data, Mapping):
            return False
        return any(first <= offset <= last for first, last in self.data.get("offsets", ()))


@dataclass(frozen=True)
class Published:
    """What became of a publish: the offsets of its events, and how many the hub had already."""

    first: int
    last: int
    accepted: int
    duplicates: int

    def plus(self, answer: Mapping[str, Any]) -> "Published":
        """Returns it with the hub's answer to what was published next."""
        return Published(
            self.first or answer["first"],
            max(self.last, answer["last"]),
            self.accepted + answer["accepted"],
            self.duplicates + answer["duplicates"],
        )


def check_url(url: str) -> str:
    """Returns the base URL without its last slash."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"url: expected http://host:port or https://host, got {url!r}")
    return url.rstrip("/")


def check_id(name: str, value: str) -> str:
    allowed = value.isascii() and 1 <= len(value) <= 128
    allowed = allowed and all(c.isalnum() or c in "._~-" for c in value) and value not in (".", "..")
    if not allowed:
        raise ValueError(f"{name}: expected 1 to 128 of A-Z a-z 0-9 . _ ~ -, got {value!r}")
    return value


class Tokens:
    """The token in use. Where a function makes tokens, it is called again before the present one expires."""

    def __init__(self, given: AsyncToken | None) -> None:
        self._given = given if given is not None else (os.environ.get("RUNCAST_TOKEN") or None)
        self._headers: dict[str, str] | None = None
        self._renew_at = float("inf")
        self._lock = threading.Lock()
        if not callable(self._given):
            self._headers = headers(self._given)

    def headers(self) -> dict[str, str]:
        """Returns the headers of a request. Raises what the function raises that makes tokens."""
        with self._lock:
            if self._headers is None or clock.time() >= self._renew_at:
                assert callable(self._given)
                made = self._given()
                if inspect.isawaitable(made):
                    raise TypeError("token: expected a function that returns a JWT; one that awaits is for runcast.aio")
                self._use(made)
            return dict(self._headers or {})

    async def headers_async(self) -> dict[str, str]:
        if self._headers is None or clock.time() >= self._renew_at:
            assert callable(self._given)
            made = self._given()
            self._use(await made if inspect.isawaitable(made) else made)
        return dict(self._headers or {})

    def expire(self, sent: Mapping[str, str], error: HubError, again: bool) -> bool:
        """Forgets the token in the headers `sent`, which the hub refused. Returns whether the next one may be accepted.

        `again`: the one before was refused too. Then it depends on why: a token may expire before a hub that starts or
        is busy looks at it, and so may the next one; a token that was refused while it was valid would be refused again.
        """
        if not callable(self._given):
            return False
        self._headers = None
        return not again or error.detail == TOKEN_HAS_EXPIRED or life_s(bearer(sent), clock.time()) <= 0

    def renewal_s(self, sent: Mapping[str, str]) -> float:
        """Returns in how many seconds a stream that has the token in the headers `sent` needs the next one; infinite: never."""
        if not callable(self._given):
            return float("inf")
        present = self._headers
        if present is None or present.get("authorization") != sent.get("authorization"):
            return 0.0
        return max(0.0, self._renew_at - clock.time())

    def _use(self, token: str) -> None:
        self._headers = headers(token)
        self._renew_at = clock.time() + RENEWAL_PART * life_s(token, clock.time())


def life_s(token: str, now: float) -> float:
    """Returns how long a JWT (RFC 7519) lives from now, as far as one can read it without its key."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        left = float(claims["exp"]) - now
        # The clock here may be behind the one that made the token.
        return min(left, float(claims["exp"]) - float(claims["iat"])) if "iat" in claims else left
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return float("inf")


def headers(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    if not token.isascii() or any(c.isspace() for c in token):
        raise ValueError("token: expected a JWT without spaces or line ends")
    return {"authorization": f"Bearer {token}"}


def bearer(sent: Mapping[str, str]) -> str:
    """Returns the token in headers."""
    return sent.get("authorization", "").removeprefix("Bearer ")


def authorize(connection: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Returns the request that replaces the token of a stream by the one in the headers `given`, as httpx takes it."""
    body = to_json({"type": "authorize", "token": bearer(given)})
    return {
        "method": "POST",
        "url": f"/api/stream/{quote(connection, safe='')}",
        "content": body,
        "headers": {**given, "content-type": "application/json"},
        "timeout": RENEWAL_TIMEOUT_S,
    }


def renewal_pause_s(given: Mapping[str, str]) -> float:
    """Returns how long to wait after a failed attempt to replace the token in the headers `given`."""
    return min(RENEWAL_LOOK_S, max(RENEWAL_PAUSE_S, life_s(bearer(given), clock.time()) / 4))


def new_id() -> str:
    return secrets.token_urlsafe(9)


def event_body(
    type: str,
    data: Json,
    id: str | None,
    key: str | None,
    time: int | datetime | None,
) -> dict[str, Any]:
    """Returns an event as it is sent. One without an id gets one, so that it can be sent again safely."""
    body: dict[str, Any] = {"type": type, "data": data, "id": id or new_id()}
    if key is not None:
        body["key"] = key
    if time is not None:
        body["time"] = milliseconds(time)
    return body


def milliseconds(time: int | datetime) -> int:
    """Returns milliseconds since 1970; a datetime without a zone is local."""
    return int(time.astimezone(timezone.utc).timestamp() * 1000) if isinstance(time, datetime) else time


def to_json(value: Any) -> bytes:
    """Returns JSON (RFC 8259): NaN and Infinity are refused, as they are by the hub."""
    _check_numbers(value, "")
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # Halves of a pair that belong together are put together; a lone one becomes U+FFFD, as in the hub.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def _check_numbers(value: Any, pointer: str) -> None:
    """An integer beyond 2^53 would come out of the hub as another number."""
    if isinstance(value, bool):
        return
    if isinstance(value, int) and abs(value) > _INTEGER_MAX:
        raise ValueError(f"{pointer or 'value'}: expected an integer within 2^53, got {value}; send it as text")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_numbers(item, f"{pointer}/{name}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_numbers(item, f"{pointer}/{index}")


def batches(events: Iterable[Mapping[str, Any]]) -> Iterable[bytes]:
    """Yields bodies of JSON arrays, each within the sizes that suit the hub. Events without an id get one."""
    parts: list[bytes] = []
    size = 0
    for event in events:
        part = to_json({**event, "id": event.get("id") or new_id()})
        if parts and (len(parts) >= BATCH_EVENTS_MAX or size + len(part) > BATCH_BYTES_MAX):
            yield b"[" + b",".join(parts) + b"]"
            parts, size = [], 0
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield b"[" + b",".join(parts) + b"]"


def topic_path(session: str, worker: str | None) -> str:
    base = f"/api/sessions/{quote(session, safe='')}"
    return base if worker is None else f"{base}/workers/{quote(worker, safe='')}"


def slice_path(base: str, slice: str) -> str:
    return f"{base}/state/{quote(slice, safe='')}"


def cause_headers(cause: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Returns the headers that say what led to a change of state."""
    return {"x-cause": to_json(cause).decode("ascii", "backslashreplace")} if cause else None


def ending(result: Result | None, reason: str | None, outcome: Json) -> bytes:
    """Returns the body of the request that ends a session."""
    given = {"result": result, "reason": reason, "outcome": outcome}
    return to_json({name: value for name, value in given.items() if value is not None})


def query(parameters: Mapping[str, Any]) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def retry_after_s(header: str | None) -> float | None:
    """Returns the seconds that `Retry-After` asks for (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError):
        return None


class Backoff:
    """Waits that grow, with full jitter: clients that were cut together do not come back together."""

    def __init__(self, first_s: float = 0.2, most_s: float = 10.0) -> None:
        self._first = first_s
        self._most = most_s
        self._times = 0

    def reset(self) -> None:
        self._times = 0

    def next(self, asked_s: float | None = None) -> float:
        self._times += 1
        limit = min(self._most, self._first * 2 ** (self._times - 1))
        jittered = random.uniform(limit / 2, limit)
        return jittered if asked_s is None else max(asked_s, jittered)


def refusal(response: httpx.Response) -> HubError:
    """Returns what a response with an error says, which has been read."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, Mapping):
        problem = {"detail": response.text[:200]}
    return HubError(response.status_code, problem, retry_after_s(response.headers.get("retry-after")))


class Attempts:
    """Whether, and when, a request or a subscription is tried again."""

    def __init__(self, tokens: Tokens, timeout_s: float = float("inf")) -> None:
        self._tokens = tokens
        self._deadline = clock.monotonic() + timeout_s
        self._backoff = Backoff()
        self._renewed = False

    def succeeded(self) -> None:
        self._backoff.reset()
        self._renewed = False

    def refused(self, error: HubError, sent: Mapping[str, str], asked_s: float | None = None) -> float:
        """Returns how long to wait after a refusal of a request with the headers `sent`. Raises it if it is final."""
        if error.status in UNAUTHORIZED and self._tokens.expire(sent, error, self._renewed):
            if not self._renewed:
                self._renewed = True
                return 0.0
        elif error.status not in RETRIED_STATUSES:
            raise error
        return self.failed(error, asked_s if error.retry_after_s is None else error.retry_after_s)

    def failed(self, error: RuncastError, asked_s: float | None = None) -> float:
        """Returns how long to wait after a failure. Raises it if there is no time left."""
        wait = self.pause_s(asked_s)
        if clock.monotonic() + wait > self._deadline:
            raise error
        return wait

    def pause_s(self, asked_s: float | None) -> float:
        return self._backoff.next(asked_s)


class Following:
    """Where a subscription is, and what its stream's blocks mean. It knows no sockets."""

    def __init__(
        self,
        base: str,
        *,
        types: Sequence[str] | None,
        replay: Replay,
        everything: bool,
        after: str | None,
        mode: str | None,
        last: int | None = None,
        since: int | datetime | None = None,
    ) -> None:
        if replay not in ("traits", "all", "none"):
            raise ValueError(f"replay: expected traits, all or none, got {replay!r}")
        self._base = base
        self._types = None if types is None else ",".join(types)
        self._replay = replay
        self._everything = everything
        self._mode = mode
        self._last = last
        self._since = None if since is None else milliseconds(since)
        self.cursor = after
        #: Whether what was retained is still to be read in pages, which go on where a cut link stopped.
        self.in_pages = replay == "all" and after is None and last is None and since is None
        self.ended = False
        self.retry_s: float | None = None
        self._told: set[int] = set()
        self._live = after is not None

    @property
    def _all(self) -> str | None:
        return "1" if self._everything else None

    def page_path(self, limit: int = 1000) -> str:
        parameters = {"types": self._types, "all": self._all, "after": self.cursor, "limit": limit}
        return f"{self._base}/history{query(parameters)}"

    def page(self, page: Mapping[str, Any]) -> Iterator[Event]:
        """Takes a page of history. The last one says where to follow from. The cursor moves with each event."""
        if page is NO_PAGE:
            self.in_pages = False
            return
        for raw in page["events"]:
            event = _event(raw, replayed=True)
            self.cursor = f"{page['epoch']}:{event.offset}"
            yield event
        following = page.get("next")
        if following is None:
            self.in_pages = False
            self._live = True
            self.cursor = f"{page['epoch']}:{page['last']}"
        else:
            self.cursor = following

    def stream_path(self) -> str:
        # All of a session that had not begun when its past was asked for; `last` and `since` say themselves what is replayed.
        everything = None if self._last is not None or self._since is not None else "all"
        replay = {"traits": None, "all": everything, "none": "false"}[self._replay]
        parameters = {
            "types": self._types,
            "mode": self._mode,
            "all": self._all,
            "replay": None if self.cursor else replay,
            "last": None if self.cursor else self._last,
            "since": None if self.cursor else self._since,
            "after": self.cursor,
        }
        return f"{self._base}/events{query(parameters)}"

    def take(self, block: Block) -> list[Event]:
        """Returns the events that a block brings; each is told once, also when a join was cut and began anew."""
        if block.retry_ms is not None:
            self.retry_s = block.retry_ms / 1000
        if block.id:
            self.cursor = block.id
        if block.data is None:
            return []
        if block.event == "hub.live":
            self._live = True
            self._told.clear()
            return []
        if block.event in ("hub.open", "hub.subscribed", "state.initial", "state.update"):
            return []
        try:
            return self._read(block.event, block.data, block.id)
        except (AttributeError, KeyError, TypeError, ValueError):
            # Passed over, and said: to come back for it would bring the same again.
            return [Event("hub.gap", {"reason": "unreadable", "text": block.data[:200]}, 0, 0)]

    def _read(self, name: str, text: str, id: str | None) -> list[Event]:
        raw = json.loads(text)
        if name == "hub.close":
            if 4500 <= int(raw.get("code", 0)):
                raise HubError(int(raw["code"]), {"detail": raw.get("reason"), "type": "hub.close"})
            return []
        if name == "hub.gap":
            return [Event("hub.gap", raw, int(raw.get("offset", 0)), 0, raw=raw)]
        event = _event(raw, replayed=not self._live and id is None)
        if event.type == "complete":
            self.ended = True
            return [event]
        if event.replayed:
            if event.offset in self._told:
                return []
            self._told.add(event.offset)
        return [event]


def _event(raw: Mapping[str, Any], replayed: bool) -> Event:
    return Event(
        type=raw["type"],
        data=raw.get("data"),
        offset=int(raw.get("offset", 0)),
        time=int(raw.get("time", 0)),
        worker=raw.get("worker"),
        id=raw.get("id"),
        key=raw.get("key"),
        topic=raw.get("topic"),
        replayed=replayed or raw.get("replay") is True,
        raw=raw,
    )


def hub_from_env(url: str | None) -> str:
    return check_url(url or os.environ.get("RUNCAST_HUB") or "http://127.0.0.1:4600")


#: The lease that `holding` takes, in seconds, unless told otherwise; it is renewed at a third.
LEASE_S = 15.0


def command_type(name: str) -> str:
    """Returns the type of a command that is called by its name: `cancel` is `command.cancel`."""
    return name if "." in name else f"command.{name}"


def receipt(offset: int, state: str, reason: str | None) -> dict[str, Any]:
    """Returns what an agent says of a command; by its id it is told once, however often it is sent."""
    data = {"offset": offset, "state": state, **({} if reason is None else {"reason": reason})}
    return {"type": "command.done", "id": f"done-{offset}", "data": data}


class Seen:
    """Which events of a subscription are commands that were not given yet."""

    def __init__(self) -> None:
        self._offsets: dict[int, None] = {}

    def takes(self, event: Event) -> bool:
        if event.type == "hub.gap":
            # Offsets of another life are others.
            if event.data.get("reason") == "epoch":
                self._offsets.clear()
            return False
        if event.type in ("command.done", "complete") or event.offset in self._offsets:
            return False
        self._offsets[event.offset] = None
        if len(self._offsets) > 10_000:
            del self._offsets[next(iter(self._offsets))]
        return True


class CommandEvent:
    """What a command says."""

    def __init__(self, event: Event) -> None:
        self.name = event.type.removeprefix("command.")
        self.type = event.type
        self.offset = event.offset
        self.data: Mapping[str, Any] = event.data if isinstance(event.data, Mapping) else {}
