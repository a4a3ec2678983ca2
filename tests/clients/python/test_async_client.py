"""python-socketio's asyncio client: connects, joins, chats, and comes back."""

import asyncio
import unittest

import socketio

from support import PATIENCE, Hub, new_order, token


class AsyncClientTests(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.hub = Hub()
        cls.addClassCleanup(cls.hub.close)

    async def connected(self, transports, **claims):
        sio = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.5)
        self.addAsyncCleanup(sio.disconnect)
        sio.told = asyncio.Queue()

        async def tell(event, *args):
            await sio.told.put((event, args))

        sio.on("*", tell, namespace="/events")
        await sio.connect(
            self.hub.url,
            auth={"token": token("ann", **claims)},
            namespaces=["/events"],
            transports=transports,
            wait_timeout=PATIENCE,
        )
        return sio

    async def joins_and_chats(self, transports):
        order = new_order()
        sio = await self.connected(transports, orders=[order])
        call = {"namespace": "/events", "timeout": PATIENCE}
        joined = await sio.call("order:join", {"orderId": order}, **call)
        self.assertEqual(joined["orderId"], order)
        said = await sio.call("chat:message", {"orderId": order, "content": "hello"}, **call)
        self.assertEqual(said["seq"], 1)
        event, args = await asyncio.wait_for(sio.told.get(), PATIENCE)
        self.assertEqual(event, "chat:message")
        self.assertEqual((args[0]["content"], args[1]), ("hello", f"{order}:1"))
        picture = {"orderId": order, "content": b"\xff\xd8"}
        refused = await sio.call("chat:message", picture, **call)
        self.assertEqual(refused["error"]["code"], "invalid_payload")

    async def test_joins_and_chats_on_websocket(self):
        await self.joins_and_chats(["websocket"])

    async def test_joins_and_chats_by_polling(self):
        await self.joins_and_chats(["polling"])

    async def test_joins_and_chats_while_it_upgrades(self):
        await self.joins_and_chats(["polling", "websocket"])

    async def test_many_connect_and_join_at_once(self):
        order = new_order()

        async def visit():
            sio = await self.connected(["websocket"], orders=[order])
            call = {"namespace": "/events", "timeout": PATIENCE}
            joined = await sio.call("order:join", {"orderId": order}, **call)
            return joined["ok"]

        self.assertEqual(await asyncio.gather(*(visit() for _ in range(50))), [True] * 50)


if __name__ == "__main__":
    unittest.main()
