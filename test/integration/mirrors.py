"""Follows the state of sessions/mirrored with clients that know nothing of Runcast's own code.

usage: mirrors.py URL CLIENTS

Prints `ready` once every client has joined; ends when each has seen the slice `done`, and prints for each client
the digest of its state after each update it got: a JSON list of lists of [offset, digest].
"""
import asyncio
import hashlib
import json
import sys

import aiohttp
import websockets

try:
    import msgpack
except ImportError:
    msgpack = None

SESSION = "mirrored"


def tokens(path):
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def patched(value, operations):
    """RFC 6902, for the operations that a hub sends."""
    document = {"": json.loads(json.dumps(value))}
    for operation in operations:
        *way, last = [""] + tokens(operation["path"])
        parent = document
        for part in way:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        if operation["op"] in ("add", "replace"):
            if isinstance(parent, list):
                if operation["op"] == "replace":
                    parent[int(last)] = operation["value"]
                else:
                    parent.insert(len(parent) if last == "-" else int(last), operation["value"])
            else:
                if operation["op"] == "replace":
                    assert last in parent, operation
                parent[last] = operation["value"]
        elif operation["op"] == "remove":
            del parent[int(last) if isinstance(parent, list) else last]
        else:
            raise AssertionError(f"unexpected operation {operation}")
    return document[""]


class Mirror:
    def __init__(self):
        self.slices, self.bases, self.history, self.done = {}, {}, [], False

    def snapshot(self, slices):
        self.slices = dict(slices)

    def update(self, event):
        data, offset = event["data"], event["offset"]
        name = data["slice"]
        if "patch" in data:
            assert self.bases.get(name, data["base"]) == data["base"], f"{name} builds on {data['base']}"
            self.slices[name] = patched(self.slices[name], data["patch"])
        elif data.get("removed"):
            self.slices.pop(name, None)
        else:
            self.slices[name] = data["value"]
        self.bases[name] = offset
        text = json.dumps(self.slices, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        self.history.append([offset, hashlib.sha256(text.encode()).hexdigest()])
        self.done = self.slices.get("done") is True


async def over_websocket(url, protocol, mirror, joined):
    packs = protocol.endswith("msgpack")
    encode = msgpack.packb if packs else json.dumps
    decode = msgpack.unpackb if packs else json.loads
    place = url.replace("http", "ws") + "/api/ws"
    async with websockets.connect(place, subprotocols=[protocol], max_size=None) as link:
        subscribe = {"type": "subscribe", "sub": 1, "topic": f"sessions/{SESSION}", "types": ["nothing"], "slices": ["*"]}
        await link.send(encode(subscribe))
        while not mirror.done:
            frame = decode(await link.recv())
            if frame["type"] == "subscribed":
                mirror.snapshot({k: v for k, v in frame["slices"].items() if not k.startswith("$")})
            elif frame["type"] == "live":
                joined()
            elif frame["type"] == "events":
                for event in frame["events"]:
                    if not event["data"]["slice"].startswith("$"):
                        mirror.update(event)


async def over_sse(url, mirror, joined):
    async with aiohttp.ClientSession(read_bufsize=2**22) as http:
        query = f"{url}/api/sessions/{SESSION}/events?types=nothing&slices=*"
        async with http.get(query, timeout=aiohttp.ClientTimeout(total=None)) as response:
            name = None
            async for line in response.content:
                field, _, text = line.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = text
                elif field == "data":
                    data = json.loads(text)
                    if name == "state.initial":
                        slices = data["data"]["slices"]
                        mirror.snapshot({k: v for k, v in slices.items() if not k.startswith("$")})
                    elif name == "hub.live":
                        joined()
                    elif name == "state.update" and not data["data"]["slice"].startswith("$"):
                        mirror.update(data)
                if mirror.done:
                    return


async def main(url, count):
    mirrors = [Mirror() for _ in range(count)]
    missing = count
    ready = asyncio.Event()

    def joined():
        nonlocal missing
        missing -= 1
        if missing == 0:
            ready.set()

    def follow(index, mirror):
        if index % 3 == 0:
            return over_sse(url, mirror, joined)
        packs = index % 3 == 1 and msgpack is not None
        return over_websocket(url, "runcast.v1.msgpack" if packs else "runcast.v1.json", mirror, joined)

    following = asyncio.gather(*(follow(index, mirror) for index, mirror in enumerate(mirrors)))
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait([following, waiting], return_when=asyncio.FIRST_COMPLETED)
    if following.done():
        following.result()
    print("ready", flush=True)
    await following
    print(json.dumps([mirror.history for mirror in mirrors]), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
