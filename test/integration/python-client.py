"""Scenarios of the Python client, one a word of the command line; each prints one line of JSON."""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import logging
import os
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import runcast
import runcast.aio

url, scenario = sys.argv[1], sys.argv[2]


def say(value):
    print(json.dumps(value), flush=True)


def publish():
    """Publishes through a bad line: each event once, whatever is sent again."""
    with runcast.connect(url, timeout=60) as client:
        worker = client.session("cuts").worker("agent")
        with worker.batch(seconds=0.01) as batch:
            for n in range(2_000):
                batch.publish("note", {"n": n})
        published = [worker.publish("single", n).last for n in range(20)]
        client.session("cuts").end()
        say(published)


def subscribe():
    with runcast.connect(url, timeout=60) as client:
        say("ready")
        events = list(client.session("cuts").subscribe(types=["note", "single"], replay="all", everything=True))
        say([[event.type, event.data["n"] if event.type == "note" else event.data] for event in events if event.type != "complete"])


async def subscribe_async():
    async with runcast.aio.connect(url, timeout=60) as client:
        say("ready")
        subscription = client.session("cuts").subscribe(types=["note", "single"], replay="all", everything=True)
        events = [event async for event in subscription]
        say([[event.type, event.data["n"] if event.type == "note" else event.data] for event in events if event.type != "complete"])


def window():
    """Begins with the newest events, or at a time."""
    with runcast.connect(url) as client:
        session = client.session("window")
        then = datetime(2026, 1, 31, 10, 0, tzinfo=timezone.utc)
        session.publish_many({"type": "note", "data": n, "time": round((then + timedelta(seconds=n)).timestamp() * 1000)} for n in range(10))
        session.end()
        for asked in ({"last": 3}, {"since": then + timedelta(seconds=8)}, {"since": 0, "last": 2, "replay": "all"}):
            say([event.data for event in session.subscribe(types=["note"], **asked) if event.type == "note"])


def redacted():
    """Keeps what it is given, until a secret is taken out of it."""
    kept = []
    with runcast.connect(url) as client:
        for event in client.session("leak").subscribe(replay="all"):
            if event.type == "redacted":
                kept = [one for one in kept if not event.redacts(one.offset)]
                say([one.data for one in kept])
            elif event.type == "note":
                kept.append(event)
                if len(kept) == 3:
                    say("has all")


async def window_async():
    async with runcast.aio.connect(url) as client:
        subscription = client.session("window").subscribe(types=["note"], last=2)
        say([event.data async for event in subscription if event.type == "note"])


def calls():
    """Every other call once, and what is refused."""
    said = []
    with runcast.connect(url) as client:
        session = client.session("calls")
        first = session.publish("a", {"text": "\ud83d\ude00 \u2028 \ud83d"}, id="1")
        again = session.publish("a", id="1")
        said.append([first.first, again.first, again.duplicates])
        worker = session.worker("w")
        worker.set_state("plan", {"done": 0, "kept": True}, cause={"type": "planned"})
        worker.merge_state("plan", {"done": 1})
        said.append(worker.state())
        worker.remove_state("plan")
        said.append(worker.state())
        logger = logging.getLogger("app")
        handler = runcast.LogHandler(worker)
        logger.addHandler(handler)
        try:
            raise ValueError("odd")
        except ValueError:
            logger.exception("it failed: %s", "x")
        handler.close()
        logs = [event.data for event in worker.history(types=["log"])]
        said.append([[log["level"], log["message"], log["error"].splitlines()[-1]] for log in logs])
        said.append([event.data for event in session.history(types=["a"])])
        said.append("calls" in [about["id"] for about in client.sessions()])
        session.end(outcome={"ok": True})
        session.end()
        said.append([event.type for event in session.subscribe(types=["nothing"])])
        refused = []
        calls = [
            lambda: client.session(".."),
            lambda: worker.publish("x", 2**60),
            lambda: worker.publish("x", float("nan")),
            lambda: session.worker("v").publish("bad type"),
            lambda: runcast.connect("127.0.0.1:4600"),
            lambda: runcast.connect(url, token="a b"),
            lambda: client.session("none").info(),
            lambda: runcast.connect("http://127.0.0.1:9", timeout=0).session("s").publish("a"),
        ]
        for call in calls:
            try:
                call()
                refused.append("nothing")
            except (ValueError, runcast.RuncastError) as error:
                refused.append(type(error).__name__)
        said.append(refused)
    say(said)


def steered():
    """Obeys commands, and is not lost while it holds its lease."""
    said = []
    with runcast.connect(url, timeout=60) as client:
        agent = client.session("steered").worker("agent")
        with agent.holding(1):
            agent.publish("execution_started")
            say("ready")
            for command in agent.commands():
                said.append([command.name, command.data.get("text")])
                if command.name == "input":
                    command.refused("not now")
                    continue
                command.applied()
                break
        say(said)


async def steered_async():
    said = []
    async with runcast.aio.connect(url, timeout=60) as client:
        agent = client.session("steered").worker("agent")
        async with agent.holding(1):
            await agent.publish("execution_started")
            say("ready")
            async for command in agent.commands():
                said.append([command.name, command.data.get("text")])
                if command.name == "input":
                    await command.refused("not now")
                    continue
                await command.applied()
                break
        say(said)


tokens = itertools.count(1)


def short_token():
    """Returns a JWT that lives for 2 s, and says how many there have been."""
    part = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    claims = {"subscribe": ["sessions/renewed"], "exp": time.time() + 2}
    signed = b".".join(part(json.dumps(value).encode()) for value in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.digest(os.environ["SECRET"].encode(), signed, hashlib.sha256)
    say({"tokens": next(tokens)})
    return (signed + b"." + part(signature)).decode()


def renewed():
    """Follows for longer than any of its tokens lives."""
    with runcast.connect(url, token=short_token) as client:
        for event in client.session("renewed").subscribe(types=["note"], replay="none"):
            if event.type == "note":
                say({"note": event.data})


async def renewed_async():
    async def token():
        return short_token()

    async with runcast.aio.connect(url, token=token) as client:
        async for event in client.session("renewed").subscribe(types=["note"], replay="none"):
            if event.type == "note":
                say({"note": event.data})


def closed():
    """A subscription that waits for events is closed from another thread."""
    with runcast.connect(url) as client:
        subscription = client.session("closed").subscribe(replay="all")
        say(next(subscription).data)
        for close in [subscription.close, client.close]:
            threading.Timer(0.1, close).start()
            say([event.data for event in subscription])
            subscription = client.session("closed").subscribe(replay="none")


async def closed_async():
    async with runcast.aio.connect(url) as client:
        subscription = client.session("closed").subscribe(replay="all")
        say((await anext(subscription)).data)
        # The task begins once the subscription waits.
        closing = asyncio.create_task(subscription.close())
        say([event.data async for event in subscription])
        await closing
        waiting = client.session("closed").subscribe(replay="none")
        closing = asyncio.create_task(client.close())
        say([event.data async for event in waiting])
        await closing
    async with runcast.aio.connect(url) as client:
        stopped = client.session("closed").subscribe(replay="all")
        async for event in stopped:
            break
        await stopped.close()
        say([event async for event in stopped])


if scenario == "closed-async":
    asyncio.run(closed_async())
elif scenario == "renewed-async":
    asyncio.run(renewed_async())
elif scenario == "window-async":
    asyncio.run(window_async())
elif scenario == "steered-async":
    asyncio.run(steered_async())
elif scenario == "subscribe-async":
    asyncio.run(subscribe_async())
else:
    scenarios = [publish, subscribe, calls, steered, window, redacted, renewed, closed]
    {one.__name__: one for one in scenarios}[scenario]()
