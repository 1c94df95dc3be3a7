"""The synchronous client: SSE and HTTP, over `httpx`."""

from __future__ import annotations

import threading
import time as clock
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from socket import SHUT_RDWR
from types import TracebackType
from typing import Any

import httpx

from . import _core as core
from ._core import Event, HubError, HubUnavailable, Json, Published, Replay, Result, RuncastError
from ._sse import Parser


def connect(url: str | None = None, *, token: core.Token | None = None, timeout: float = core.DEFAULT_TIMEOUT_S) -> "Client":
    """Returns a client of the hub at `url` (`RUNCAST_HUB`, or http://127.0.0.1:4600, unless given).

    `token` is a JWT (`RUNCAST_TOKEN` unless given), or a function that returns one, which is called again before
    the present one expires. `timeout` is how long, in seconds, a call tries again
    while the hub is away.
    """
    return Client(url, token=token, timeout=timeout)


def _shut(response: httpx.Response) -> None:
    """Ends a response that another thread reads, which would not notice that its socket is closed."""
    with suppress(OSError):
        response.extensions["network_stream"].get_extra_info("socket").shutdown(SHUT_RDWR)


class Client:
    """A way to one hub. Its sessions share its connections; it may be used by many threads."""

    def __init__(self, url: str | None = None, *, token: core.Token | None = None, timeout: float = core.DEFAULT_TIMEOUT_S) -> None:
        self.url = core.hub_from_env(url)
        self.timeout = timeout
        timeouts = httpx.Timeout(core.READ_TIMEOUT_S, connect=core.CONNECT_TIMEOUT_S)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._tokens = core.Tokens(token)
        self._http = httpx.Client(base_url=self.url, timeout=timeouts, limits=limits, trust_env=False)
        self._closed = threading.Event()
        self._streams: set[httpx.Response] = set()
        self._renewals: set[_Renewal] = set()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends every subscription and closes the connections."""
        self._closed.set()
        for response in list(self._streams):
            _shut(response)
        for renewal in list(self._renewals):
            renewal.close()
        self._http.close()

    def session(self, id: str | None = None) -> "Session":
        """Returns a session; a new one where no id is given. It begins with its first event."""
        return Session(self, core.check_id("session", id if id is not None else core.new_id().strip("-_") or "session"))

    def sessions(self) -> list[Mapping[str, Any]]:
        """Returns what the hub lists of its sessions."""
        listed = self._request("GET", "/api/sessions")
        return list(listed["sessions"] if isinstance(listed, Mapping) else listed)

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Sends a request until it is answered. Only what may be sent twice comes here."""
        attempts = core.Attempts(self._tokens, self.timeout if timeout is None else timeout)
        sent = {**(headers or {}), **({"content-type": content_type} if body is not None else {})}
        while True:
            given = {**sent, **self._tokens.headers()}
            try:
                response = self._http.request(method, path, content=body, headers=given)
                if response.status_code < 400:
                    return response.json() if response.content else None
                failure: RuncastError = core.refusal(response)
                wait = attempts.refused(failure, given)
            except httpx.TransportError as error:
                failure = HubUnavailable(f"the hub at {self.url} does not answer: {error or type(error).__name__}")
                wait = attempts.failed(failure)
            if self._closed.wait(wait):
                raise failure


class Worker:
    """One parallel agent of a session, or, as the base of `Session`, the session itself."""

    def __init__(self, client: Client, session: str, worker: str | None) -> None:
        self._client = client
        self._session = session
        self._worker = worker
        self._path = core.topic_path(session, worker)

    @property
    def id(self) -> str:
        return self._session if self._worker is None else self._worker

    def publish(
        self,
        type: str,
        data: Json = None,
        *,
        id: str | None = None,
        key: str | None = None,
        time: int | datetime | None = None,
    ) -> Published:
        """Publishes one event, and returns once the hub has it.

        `id` is your own: the same one again is a duplicate. Without one the event gets one, so that it is
        published once however often the connection is cut.
        """
        return self.publish_many([core.event_body(type, data, id, key, time)])

    def publish_many(self, events: Iterable[Mapping[str, Any]]) -> Published:
        """Publishes events `{ type, data?, id?, key?, time? }` in order, in as few requests as suit the hub."""
        published = Published(0, 0, 0, 0)
        for body in core.batches(events):
            published = published.plus(self._client._request("POST", f"{self._path}/events", body=body))
        return published

    def batch(self, *, seconds: float = 0.1) -> "Batch":
        """Returns a batch: what is published in it leaves together, at the latest after `seconds`."""
        return Batch(self, seconds)

    def set_state(self, slice: str, value: Json, *, cause: Mapping[str, Any] | None = None) -> int:
        """Sets a slice of state; watchers get the difference. Returns the offset."""
        headers = core.cause_headers(cause)
        answer = self._client._request("PUT", core.slice_path(self._path, slice), body=core.to_json(value), headers=headers)
        return int(answer["offset"])

    def merge_state(self, slice: str, patch: Json) -> int:
        """Changes a slice by a merge patch (RFC 7386). Returns the offset."""
        answer = self._client._request(
            "PATCH", core.slice_path(self._path, slice), body=core.to_json(patch), content_type="application/merge-patch+json"
        )
        return int(answer["offset"])

    def remove_state(self, slice: str) -> int:
        return int(self._client._request("DELETE", core.slice_path(self._path, slice))["offset"])

    def state(self) -> Mapping[str, Any]:
        """Returns the slices by name, the hub's own (`$session`, `$workers`) included."""
        return dict(self._client._request("GET", f"{self._path}/state")["slices"])

    def history(self, *, types: Sequence[str] | None = None, everything: bool = False) -> Iterator[Event]:
        """Yields what is retained, the oldest first, and ends."""
        following = core.Following(
            self._path, types=types, replay="all", everything=everything, after=None, mode=None
        )
        while following.in_pages:
            yield from following.page(self._client._request("GET", following.page_path()))

    def subscribe(
        self,
        *,
        types: Sequence[str] | None = None,
        replay: Replay = "traits",
        everything: bool = False,
        after: str | None = None,
        mode: str | None = None,
        last: int | None = None,
        since: int | datetime | None = None,
    ) -> "Subscription":
        """Follows the topic until the session ends, over cuts and restarts of the hub.

        `types` are names, `prefix*`, and `!` before either to leave out. `replay` is what of the past comes
        first: `traits` (what the catalog says), `all`, or `none`. `everything` is for the workers too.
        `after` is a cursor to go on from, such as `subscription.cursor` of an earlier one. `last` begins with so
        many of the newest events, `since` with those since a time (milliseconds since 1970, or a datetime).
        """
        following = core.Following(
            self._path,
            types=types,
            replay=replay,
            everything=everything,
            after=after,
            mode=mode,
            last=last,
            since=since,
        )
        return Subscription(self._client, following)


    def command(self, name: str, data: Mapping[str, Any] | None = None) -> Published:
        """Asks the producers of the topic: `cancel`, `pause`, `resume`, `input`, or a type of your own.

        What became of it is in the slice `$commands`, by the offset that this returns.
        """
        return self.publish(core.command_type(name), dict(data or {}))

    def commands(self, types: Sequence[str] = ("command.*",)) -> "Commands":
        """Yields what those who watch ask of this agent: each command once and in order, over cuts too.

        Those come first that have no final state. Say of each what became of it.
        """
        return Commands(self, self.subscribe(types=types))

    def lease(self, seconds: float) -> None:
        """Promises to be heard of again within so many seconds; 0 gives the promise up."""
        self._client._request("PUT", f"{self._path}/lease", body=core.to_json({"ms": round(seconds * 1000)}))

    def holding(self, seconds: float = core.LEASE_S) -> "Holding":
        """Returns a block within which the lease is held: if the process dies in it, the hub says `worker.lost`."""
        return Holding(self, seconds)


class Session(Worker):
    """One agent run or conversation."""

    def __init__(self, client: Client, id: str) -> None:
        super().__init__(client, id, None)

    def worker(self, id: str) -> Worker:
        """Returns a worker of the session."""
        return Worker(self._client, self._session, core.check_id("worker", id))

    def end(self, *, result: Result | None = None, reason: str | None = None, outcome: Json = None) -> None:
        """Ends the session, for all that follow it."""
        body = core.ending(result, reason, outcome)
        try:
            self._client._request("POST", f"{self._path}/end", body=body)
        except HubError as error:
            # The answer to the first attempt may have been lost.
            if error.status != 409:
                raise

    def info(self) -> Mapping[str, Any]:
        """Returns what the hub says of the session."""
        return dict(self._client._request("GET", self._path))


class Subscription(Iterator[Event]):
    """The events of one topic. `cursor` is where it is; `close` ends it from any thread."""

    def __init__(self, client: Client, following: core.Following) -> None:
        self._client = client
        self._following = following
        self._response: httpx.Response | None = None
        self._closed = False
        self._events = self._run()

    @property
    def cursor(self) -> str | None:
        return self._following.cursor

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        self._closed = True
        response = self._response
        if response is not None:
            _shut(response)
        # A generator that waits in another thread cannot be closed; it ends when its response does.
        with suppress(ValueError):
            self._events.close()

    def _over(self) -> bool:
        return self._closed or self._client._closed.is_set() or self._following.ended

    def _run(self) -> Generator[Event, None, None]:
        following = self._following
        tokens = self._client._tokens
        attempts = core.Attempts(tokens)
        while not self._over() and following.in_pages:
            yield from following.page(self._page(following))
        while not self._over():
            wait: float | None = None
            held = tokens.headers()
            given = {"accept": "text/event-stream", **held}
            renewal: _Renewal | None = None
            try:
                with self._client._http.stream("GET", following.stream_path(), headers=given) as response:
                    if response.status_code == 204:
                        return
                    if response.status_code >= 400:
                        response.read()
                        raise core.refusal(response)
                    self._response = response
                    self._client._streams.add(response)
                    renewal = _Renewal.begin(self._client, response, held)
                    attempts.succeeded()
                    parser = Parser()
                    for chunk in response.iter_raw():
                        for block in parser.feed(chunk):
                            for event in following.take(block):
                                yield event
                        if self._over():
                            return
            except HubError as error:
                # A token that has expired ends the stream; with the next one it goes on where it was.
                wait = attempts.refused(error, given, following.retry_s)
            except (httpx.TransportError, httpx.StreamError):
                if self._over():
                    return
            finally:
                if self._response is not None:
                    self._client._streams.discard(self._response)
                    self._response = None
                if renewal is not None:
                    renewal.close()
            if self._over():
                return
            if self._client._closed.wait(attempts.pause_s(following.retry_s) if wait is None else wait):
                return

    def _page(self, following: core.Following) -> Mapping[str, Any]:
        try:
            page: Mapping[str, Any] = self._client._request("GET", following.page_path(), timeout=float("inf"))
            return page
        except HubError as error:
            # A session that has not begun has no past.
            if error.status != 404:
                raise
            return core.NO_PAGE


class _Renewal:
    """A thread that gives an open stream the next token before the present one expires. It ends with the stream.

    Where it fails, the stream ends with its token, and the subscription goes on with the next one.
    """

    def __init__(self, client: Client, connection: str, held: Mapping[str, str]) -> None:
        self._client = client
        self._connection = connection
        self._held = held
        self._over = threading.Event()
        threading.Thread(target=self._run, name="runcast-token", daemon=True).start()

    @staticmethod
    def begin(client: Client, response: httpx.Response, held: Mapping[str, str]) -> "_Renewal | None":
        """Returns nothing where the token stays, or the hub is older and does not name the connection."""
        connection = response.headers.get(core.CONNECTION_HEADER)
        if connection is None or client._tokens.renewal_s(held) == float("inf"):
            return None
        renewal = _Renewal(client, connection, held)
        client._renewals.add(renewal)
        return renewal

    def close(self) -> None:
        self._over.set()
        self._client._renewals.discard(self)

    def _run(self) -> None:
        tokens = self._client._tokens
        pause = core.RENEWAL_PAUSE_S
        while not self._over.wait(pause):
            wait = tokens.renewal_s(self._held)
            if wait == float("inf"):
                return
            if wait > 0:
                pause = min(wait, core.RENEWAL_LOOK_S)
                continue
            try:
                given = tokens.headers()
                response = self._client._http.request(**core.authorize(self._connection, given))
                if response.status_code >= 400:
                    raise core.refusal(response)
                self._held = given
                pause = core.RENEWAL_PAUSE_S
            except Exception:  # noqa: BLE001 - what the function raises that makes tokens, the subscription raises too
                pause = core.renewal_pause_s(self._held)


class Command(core.CommandEvent):
    """What somebody who watches asks. `name` is `cancel`, `pause`, `resume`, `input` or a type; `data` what it says."""

    def __init__(self, worker: Worker, event: Event) -> None:
        super().__init__(event)
        self._worker = worker

    def applied(self) -> None:
        """Says that it was done. Of several words on a command the first one counts: by now it may have expired."""
        self._say("applied", None)

    def refused(self, reason: str) -> None:
        """Says that it was not done, and will not be."""
        self._say("refused", reason)

    def _say(self, state: str, reason: str | None) -> None:
        try:
            self._worker.publish_many([core.receipt(self.offset, state, reason)])
        except HubError as error:
            # Its session has ended, and it with it.
            if error.status != 409:
                raise


class Commands(Iterator[Command]):
    """The commands that are sent to a topic. `close` ends the iteration from any thread."""

    def __init__(self, worker: Worker, subscription: Subscription) -> None:
        self._worker = worker
        self._subscription = subscription
        self._seen = core.Seen()

    def __next__(self) -> Command:
        while True:
            event = next(self._subscription)
            if self._seen.takes(event):
                return Command(self._worker, event)

    def close(self) -> None:
        self._subscription.close()


class Holding:
    """A lease that a thread renews until the block is left."""

    def __init__(self, worker: Worker, seconds: float) -> None:
        self._worker = worker
        self._seconds = seconds
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runcast-lease", daemon=True)

    def __enter__(self) -> "Holding":
        self._worker.lease(self._seconds)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._left.set()
        self._thread.join()
        try:
            self._worker.lease(0)
        except HubError as refusal:
            # The session has ended, and the lease with it.
            if refusal.status != 409:
                raise

    def _run(self) -> None:
        while not self._left.wait(self._seconds / 3):
            try:
                self._worker.lease(self._seconds)
            except RuncastError:
                # A hub that is away takes the next one; a session that has ended takes none.
                continue


class Batch:
    """Events that leave together. A thread sends what has waited for long; leaving the `with` sends the rest."""

    def __init__(self, worker: Worker, seconds: float) -> None:
        self._worker = worker
        self._seconds = seconds
        self._events: list[dict[str, Any]] = []
        self._change = threading.Condition()
        self._sending = threading.Lock()
        self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="runcast-batch", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Batch":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def publish(
        self,
        type: str,
        data: Json = None,
        *,
        id: str | None = None,
        key: str | None = None,
        time: int | datetime | None = None,
    ) -> None:
        """Takes an event. Raises what the sending of earlier ones failed with."""
        event = core.event_body(type, data, id, key, time)
        # The hub's clock is that of the sending, the event's that of its happening.
        event.setdefault("time", int(clock.time() * 1000))
        core.to_json(event)
        with self._change:
            self._raise()
            if self._closed:
                raise RuntimeError("the batch is closed")
            while len(self._events) >= 20 * core.BATCH_EVENTS_MAX and self._failure is None:
                self._change.wait(1)
            self._events.append(event)
            self._change.notify_all()

    def flush(self) -> None:
        """Returns once the hub has everything that was published before."""
        self._send()
        with self._change:
            self._raise()

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._events and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                if len(self._events) < core.BATCH_EVENTS_MAX:
                    self._change.wait(self._seconds)
            self._send()

    def _send(self) -> None:
        with self._sending:
            with self._change:
                events, self._events = self._events, []
                self._change.notify_all()
            if not events:
                return
            try:
                self._worker.publish_many(events)
            except Exception as error:  # noqa: BLE001 - raised by the next call
                with self._change:
                    self._failure = error

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
