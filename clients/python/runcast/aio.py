"""The asynchronous client: the same calls as the synchronous one, awaited.

>>> async with runcast.aio.connect() as client:
...     async for event in client.session("build-42").subscribe(everything=True):
...         print(event.type)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from types import TracebackType
from typing import Any

import httpx

from . import _core as core
from ._core import Event, HubError, HubUnavailable, Json, Published, Replay, Result, RuncastError
from ._sse import Parser

__all__ = ["Client", "Command", "Commands", "Holding", "Session", "Subscription", "Worker", "connect"]


def connect(url: str | None = None, *, token: core.AsyncToken | None = None, timeout: float = core.DEFAULT_TIMEOUT_S) -> "Client":
    """Returns a client; see `runcast.connect`. A function that makes tokens may be asynchronous."""
    return Client(url, token=token, timeout=timeout)


class Client:
    """A way to one hub, for the tasks of one event loop."""

    def __init__(self, url: str | None = None, *, token: core.AsyncToken | None = None, timeout: float = core.DEFAULT_TIMEOUT_S) -> None:
        self.url = core.hub_from_env(url)
        self.timeout = timeout
        timeouts = httpx.Timeout(core.READ_TIMEOUT_S, connect=core.CONNECT_TIMEOUT_S)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._tokens = core.Tokens(token)
        self._http = httpx.AsyncClient(base_url=self.url, timeout=timeouts, limits=limits, trust_env=False)
        self._closed = False
        self._renewals: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        self._closed = True
        for renewal in self._renewals:
            renewal.cancel()
        await self._http.aclose()

    def session(self, id: str | None = None) -> "Session":
        return Session(self, core.check_id("session", id if id is not None else core.new_id().strip("-_") or "session"))

    async def sessions(self) -> list[Mapping[str, Any]]:
        listed = await self._request("GET", "/api/sessions")
        return list(listed["sessions"] if isinstance(listed, Mapping) else listed)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Any:
        attempts = core.Attempts(self._tokens, self.timeout if timeout is None else timeout)
        sent = {**(headers or {}), **({"content-type": content_type} if body is not None else {})}
        while True:
            given = {**sent, **await self._tokens.headers_async()}
            try:
                response = await self._http.request(method, path, content=body, headers=given)
                if response.status_code < 400:
                    return response.json() if response.content else None
                failure: RuncastError = core.refusal(response)
                wait = attempts.refused(failure, given)
            except httpx.TransportError as error:
                failure = HubUnavailable(f"the hub at {self.url} does not answer: {error or type(error).__name__}")
                wait = attempts.failed(failure)
            if self._closed:
                raise failure
            await asyncio.sleep(wait)


    def _renewing(self, response: httpx.Response, held: Mapping[str, str]) -> "asyncio.Task[None] | None":
        """Returns a task that gives an open stream the next token before the present one expires; see `_client._Renewal`."""
        connection = response.headers.get(core.CONNECTION_HEADER)
        if connection is None or self._tokens.renewal_s(held) == float("inf"):
            return None
        renewal = asyncio.create_task(self._renew(connection, held))
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)
        return renewal

    async def _renew(self, connection: str, held: Mapping[str, str]) -> None:
        pause = core.RENEWAL_PAUSE_S
        while True:
            await asyncio.sleep(pause)
            wait = self._tokens.renewal_s(held)
            if wait == float("inf"):
                return
            if wait > 0:
                pause = min(wait, core.RENEWAL_LOOK_S)
                continue
            try:
                given = await self._tokens.headers_async()
                response = await self._http.request(**core.authorize(connection, given))
                if response.status_code >= 400:
                    raise core.refusal(response)
                held = given
                pause = core.RENEWAL_PAUSE_S
            except Exception:  # noqa: BLE001 - what the function raises that makes tokens, the subscription raises too
                pause = core.renewal_pause_s(held)


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

    async def publish(
        self,
        type: str,
        data: Json = None,
        *,
        id: str | None = None,
        key: str | None = None,
        time: int | datetime | None = None,
    ) -> Published:
        return await self.publish_many([core.event_body(type, data, id, key, time)])

    async def publish_many(self, events: Iterable[Mapping[str, Any]]) -> Published:
        published = Published(0, 0, 0, 0)
        for body in core.batches(events):
            published = published.plus(await self._client._request("POST", f"{self._path}/events", body=body))
        return published

    async def set_state(self, slice: str, value: Json, *, cause: Mapping[str, Any] | None = None) -> int:
        headers = core.cause_headers(cause)
        path = core.slice_path(self._path, slice)
        return int((await self._client._request("PUT", path, body=core.to_json(value), headers=headers))["offset"])

    async def merge_state(self, slice: str, patch: Json) -> int:
        path = core.slice_path(self._path, slice)
        answer = await self._client._request(
            "PATCH", path, body=core.to_json(patch), content_type="application/merge-patch+json"
        )
        return int(answer["offset"])

    async def remove_state(self, slice: str) -> int:
        return int((await self._client._request("DELETE", core.slice_path(self._path, slice)))["offset"])

    async def state(self) -> Mapping[str, Any]:
        return dict((await self._client._request("GET", f"{self._path}/state"))["slices"])

    async def history(self, *, types: Sequence[str] | None = None, everything: bool = False) -> AsyncIterator[Event]:
        following = core.Following(self._path, types=types, replay="all", everything=everything, after=None, mode=None)
        while following.in_pages:
            for event in following.page(await self._client._request("GET", following.page_path())):
                yield event

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


    async def command(self, name: str, data: Mapping[str, Any] | None = None) -> Published:
        return await self.publish(core.command_type(name), dict(data or {}))

    def commands(self, types: Sequence[str] = ("command.*",)) -> "Commands":
        return Commands(self, self.subscribe(types=types))

    async def lease(self, seconds: float) -> None:
        body = core.to_json({"ms": round(seconds * 1000)})
        await self._client._request("PUT", f"{self._path}/lease", body=body)

    def holding(self, seconds: float = core.LEASE_S) -> "Holding":
        return Holding(self, seconds)


class Session(Worker):
    """One agent run or conversation."""

    def __init__(self, client: Client, id: str) -> None:
        super().__init__(client, id, None)

    def worker(self, id: str) -> Worker:
        return Worker(self._client, self._session, core.check_id("worker", id))

    async def end(self, *, result: Result | None = None, reason: str | None = None, outcome: Json = None) -> None:
        body = core.ending(result, reason, outcome)
        try:
            await self._client._request("POST", f"{self._path}/end", body=body)
        except HubError as error:
            if error.status != 409:
                raise

    async def info(self) -> Mapping[str, Any]:
        return dict(await self._client._request("GET", self._path))


class Subscription(AsyncIterator[Event]):
    """The events of one topic. `cursor` is where it is; `close` ends it from any task of the loop."""

    def __init__(self, client: Client, following: core.Following) -> None:
        self._client = client
        self._following = following
        self._response: httpx.Response | None = None
        self._closed = asyncio.Event()
        self._events = self._run()

    @property
    def cursor(self) -> str | None:
        return self._following.cursor

    async def __aenter__(self) -> "Subscription":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def close(self) -> None:
        self._closed.set()
        # A generator that waits for the hub cannot be closed; it ends when its response does.
        if not self._events.ag_running:
            await self._events.aclose()
        elif self._response is not None:
            await self._response.aclose()

    def _over(self) -> bool:
        return self._closed.is_set() or self._client._closed or self._following.ended

    async def _run(self) -> AsyncGenerator[Event, None]:
        following = self._following
        tokens = self._client._tokens
        attempts = core.Attempts(tokens)
        while not self._over() and following.in_pages:
            for event in following.page(await self._page(following)):
                yield event
        while not self._over():
            wait: float | None = None
            held = await tokens.headers_async()
            given = {"accept": "text/event-stream", **held}
            renewal: asyncio.Task[None] | None = None
            try:
                # Not with `stream`: a loop that ends would close its generator while this one does.
                request = self._client._http.build_request("GET", following.stream_path(), headers=given)
                self._response = response = await self._client._http.send(request, stream=True)
                if response.status_code == 204:
                    return
                if response.status_code >= 400:
                    await response.aread()
                    raise core.refusal(response)
                renewal = self._client._renewing(response, held)
                attempts.succeeded()
                parser = Parser()
                async with aclosing(response.aiter_raw()) as chunks:
                    async for chunk in chunks:
                        for block in parser.feed(chunk):
                            for event in following.take(block):
                                yield event
                        if self._over():
                            return
            except HubError as error:
                wait = attempts.refused(error, given, following.retry_s)
            except (httpx.TransportError, httpx.StreamError):
                if self._over():
                    return
            finally:
                if self._response is not None:
                    await self._response.aclose()
                    self._response = None
                if renewal is not None:
                    renewal.cancel()
            if self._over():
                return
            with suppress(TimeoutError):
                pause = attempts.pause_s(following.retry_s) if wait is None else wait
                await asyncio.wait_for(self._closed.wait(), pause)

    async def _page(self, following: core.Following) -> Mapping[str, Any]:
        try:
            page: Mapping[str, Any] = await self._client._request("GET", following.page_path(), timeout=float("inf"))
            return page
        except HubError as error:
            # A session that has not begun has no past.
            if error.status != 404:
                raise
            return core.NO_PAGE


class Command(core.CommandEvent):
    """What somebody who watches asks; see `runcast.Command`."""

    def __init__(self, worker: Worker, event: Event) -> None:
        super().__init__(event)
        self._worker = worker

    async def applied(self) -> None:
        await self._say("applied", None)

    async def refused(self, reason: str) -> None:
        await self._say("refused", reason)

    async def _say(self, state: str, reason: str | None) -> None:
        try:
            await self._worker.publish_many([core.receipt(self.offset, state, reason)])
        except HubError as error:
            if error.status != 409:
                raise


class Commands(AsyncIterator[Command]):
    """The commands that are sent to a topic."""

    def __init__(self, worker: Worker, subscription: Subscription) -> None:
        self._worker = worker
        self._subscription = subscription
        self._seen = core.Seen()

    async def __anext__(self) -> Command:
        while True:
            event = await anext(self._subscription)
            if self._seen.takes(event):
                return Command(self._worker, event)

    async def close(self) -> None:
        await self._subscription.close()


class Holding:
    """A lease that a task renews until the block is left."""

    def __init__(self, worker: Worker, seconds: float) -> None:
        self._worker = worker
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Holding":
        await self._worker.lease(self._seconds)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()
        try:
            await self._worker.lease(0)
        except HubError as refusal:
            if refusal.status != 409:
                raise

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 3)
            try:
                await self._worker.lease(self._seconds)
            except RuncastError:
                continue
