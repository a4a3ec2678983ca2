"""A driver that sends a position every second, and comes back when the connection breaks.

    TOKEN=… python3 track.py order-1 [ws://127.0.0.1:8080/ws] [--count 10]

Needs `pip install websockets` (14 or newer).
"""

import argparse
import asyncio
import json
import os
import random
from contextlib import suppress
from datetime import datetime, timezone

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

# Of these a driver's app shows something. After `order:unassigned` and `order:left`, and once the order has
# ended, positions are refused in their acks.
HEARD = {"connected", "ack", "auth:expiring", "session:end"}
HEARD |= {"order:assigned", "order:unassigned", "order:status", "order:left"}
GOAL, STEP = (45.2735, 13.7142), (0.0002, 0.0003)


def fix(order, left):
    lat, lng = (a - left * b for a, b in zip(GOAL, STEP))
    return {
        "orderId": order,
        "lat": round(lat, 6),
        "lng": round(lng, 6),
        "speed": 8.3,
        "recordedAt": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    }


async def listen(socket):
    with suppress(ConnectionClosed):  # The sending side hears of it too.
        async for text in socket:
            message = json.loads(text)
            if message["event"] in HEARD:
                print(message["event"], json.dumps(message["data"]), flush=True)


async def main():
    args = argparse.ArgumentParser()
    args.add_argument("order")
    args.add_argument("url", nargs="?", default="ws://127.0.0.1:8080/ws")
    args.add_argument("--count", type=int, default=10)
    args = args.parse_args()
    left, attempts = args.count, 0
    while left:
        headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
        try:
            async with connect(args.url, additional_headers=headers) as socket:
                attempts = 0
                listener = asyncio.create_task(listen(socket))
                # Old positions are worth nothing, so none is kept for later or sent twice.
                while left:
                    event = {"event": "driver:location", "data": fix(args.order, left), "id": left}
                    await socket.send(json.dumps(event))
                    left -= 1
                    await asyncio.sleep(1)
                listener.cancel()
        except ConnectionClosed as end:
            code = end.rcvd.code if end.rcvd else 1006
            if 4400 <= code <= 4499:  # 4401: an app would fetch a new token and go on.
                raise SystemExit(f"closed for good: {code} {end.rcvd.reason}")
        except InvalidStatus as refusal:
            if refusal.response.status_code in (401, 403):
                raise SystemExit(refusal.response.body.decode())
        except OSError:
            pass
        if left:
            wait = min(30, 0.5 * 2**attempts) * random.uniform(0.5, 1)
            attempts += 1
            print(f"back in {wait:.1f} s", flush=True)
            await asyncio.sleep(wait)


asyncio.run(main())
