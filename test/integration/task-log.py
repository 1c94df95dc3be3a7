"""Reads a task's log with aiohttp, as its clients do: prints each event as a line of JSON, then its end."""

import asyncio
import json
import sys

import aiohttp


async def main(url):
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        print(json.dumps({"status": response.status, "type": response.content_type}), flush=True)
        event, last_id = None, None
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("id: "):
                last_id = line[4:]
            elif line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                print(json.dumps({"event": event, "data": data, "id": last_id}), flush=True)
        print(json.dumps({"end": True}), flush=True)


asyncio.run(main(sys.argv[1]))
