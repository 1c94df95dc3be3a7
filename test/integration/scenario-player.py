"""The part of a client in the scenarios: see `scenario-player.ts`, which is the same in TypeScript."""

import asyncio
import json
import os
import sys
import threading
import urllib.request

import runcast
import runcast.aio

url, tokens, session, first, after, way = sys.argv[1:]
start = int(first)


def say(**line):
    # In one write, because two threads say something.
    os.write(1, f"{json.dumps(line)}\n".encode())


def token():
    with urllib.request.urlopen(tokens) as answer:
        return answer.read().decode()


def batch(number):
    return [{"type": "note", "id": f"{session}-{n}", "data": n} for n in range(number, number + 1 + number % 5)]


# By id; see `scenario-player.ts`.
offsets = {}


def told(event, cursor):
    if event.type == "hub.gap":
        say(gap=event.data["reason"])
    elif event.type == "note":
        before = offsets.get(event.id)
        offsets[event.id] = event.offset
        if before is None or before == event.offset:
            say(got=event.data, cursor=cursor)


def asked():
    return {"types": ["note"], "everything": True, **({"after": after} if after else {"replay": "all"})}


over = threading.Event()


def listen():
    sys.stdin.readline()
    over.set()
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=listen, daemon=True).start()


def follow(client):
    subscription = client.session(session).subscribe(**asked())
    try:
        for event in subscription:
            told(event, subscription.cursor)
    finally:
        # What raises here ends a thread, not the process.
        say(over=repr(sys.exc_info()[1] or "the subscription ended"))


def publish(client):
    number = start
    worker = client.session(session).worker("w")
    while not over.is_set():
        events = batch(number)
        worker.publish_many(events)
        number += len(events)
        say(sent=number)
    say(done=number)


async def follow_async(client):
    subscription = client.session(session).subscribe(**asked())
    async for event in subscription:
        told(event, subscription.cursor)
    say(over="the subscription ended")


async def publish_async(client):
    number = start
    worker = client.session(session).worker("w")
    while not over.is_set():
        events = batch(number)
        await worker.publish_many(events)
        number += len(events)
        say(sent=number)
    say(done=number)


async def token_async():
    return await asyncio.to_thread(token)


async def play_async():
    async with runcast.aio.connect(url, token=token_async, timeout=120) as client:
        await asyncio.gather(follow_async(client), publish_async(client))


if way == "async":
    asyncio.run(play_async())
else:
    with runcast.connect(url, token=token, timeout=120) as client:
        following = threading.Thread(target=follow, args=(client,))
        following.start()
        publish(client)
        following.join()
