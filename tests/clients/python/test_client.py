"""python-socketio's client does what the app does, on WebSocket and by long-polling."""

import unittest

import socketio

from support import Device, Hub, new_order, token


class ClientTests:
    """What is the same on each transport; the classes at the end name them."""

    transports: list[str]

    @classmethod
    def setUpClass(cls):
        cls.hub = Hub(JWT_LEEWAY_SECS="0")
        cls.addClassCleanup(cls.hub.close)

    def device(self, user, hub=None, **claims):
        device = Device(hub or self.hub, self.transports)
        self.addCleanup(device.close)
        return device.connect({"token": token(user, **claims)})

    def test_three_devices_of_two_users(self):
        order = new_order()
        phone = self.device("ann", orders=[order])
        tablet = self.device("ann", orders=[order])
        driver = self.device("driver-1", role="driver", orders=[order])
        for device in (phone, tablet, driver):
            self.assertTrue(device.call("order:join", {"orderId": order})["ok"])
        for device in (phone, tablet):
            self.assertEqual(device.take("presence:joined")[0]["userId"], "driver-1")
        fix = {"orderId": order, "lat": 45.27, "lng": 13.71}
        self.assertEqual(driver.call("driver:location", fix), {"ok": True, "accepted": 1})
        said = phone.call("chat:message", {"orderId": order, "content": "dveře"})
        for device in (phone, tablet, driver):
            seen = device.take("location:updated")[0]
            self.assertEqual((seen["lat"], seen["driverId"]), (45.27, "driver-1"))
            heard = device.take("chat:message")[0]
            self.assertEqual((heard["id"], heard["content"]), (said["id"], "dveře"))

    def test_forty_positions_in_a_turn_are_all_heard(self):
        orders = [new_order() for _ in range(40)]
        device = self.device("ann", orders=orders)
        driver = self.device("driver-1", role="driver", orders=orders)
        for order in orders:
            self.assertTrue(device.call("order:join", {"orderId": order})["ok"])
        for some in (orders[:20], orders[20:]):
            driver.emit("driver:location", {"orderIds": some, "lat": 45.27, "lng": 13.71})
        heard = {device.take("location:updated")[0]["orderId"] for _ in orders}
        self.assertEqual(heard, set(orders))

    def test_one_that_disconnects_has_left_at_once(self):
        hub = Hub(PRESENCE_GRACE_SECS="3600")
        self.addCleanup(hub.close)
        order = new_order()
        watcher = self.device("ann", hub, orders=[order])
        watcher.call("order:join", {"orderId": order})
        for user in ("bob", "eve", "dan"):
            device = self.device(user, hub, orders=[order])
            device.call("order:join", {"orderId": order})
            device.close()
            self.assertEqual(watcher.take("presence:left")[0]["userId"], user)

    def test_a_message_that_is_too_large_is_told_and_it_comes_back(self):
        order = new_order()
        device = self.device("ann", orders=[order])
        device.emit("chat:message", {"orderId": order, "content": "x" * 70_000})
        self.assertEqual(device.take("session:end")[0]["code"], 1009)
        device.take("connect")
        self.assertTrue(device.call("order:join", {"orderId": order})["ok"])

    def test_a_handler_of_one_parameter_asks_for_no_resume(self):
        order = new_order()
        heard = []
        device = Device(self.hub, self.transports)
        self.addCleanup(device.close)

        def chat(message):
            heard.append(message["content"])

        device.on("chat:message", chat)
        device.connect({"token": token("ann", orders=[order]), "resume": False})
        device.call("order:join", {"orderId": order})
        device.call("chat:message", {"orderId": order, "content": "hello"})
        # What comes after it has come: so has all before it.
        device.emit("order:leave", {"orderId": order})
        device.take("order:left")
        self.assertEqual(heard, ["hello"])

    def test_a_handler_that_takes_all_arguments_sees_the_offset(self):
        order = new_order()
        device = self.device("ann", orders=[order])
        device.call("order:join", {"orderId": order})
        device.call("chat:message", {"orderId": order, "content": "hello"})
        message, offset = device.take("chat:message")
        self.assertEqual(message["content"], "hello")
        self.assertEqual(offset, f"{order}:1")
        device.emit("order:leave", {"orderId": order})
        self.assertEqual(len(device.take("order:left")), 1)

    def test_without_an_ack_the_reply_is_an_event(self):
        order = new_order()
        device = self.device("ann", orders=[order])
        device.emit("order:join", {"orderId": order})
        self.assertEqual(device.take("order:joined")[0]["orderId"], order)
        device.emit("order:join", {"orderId": "order-of-others"})
        self.assertEqual(device.take("exception")[0]["code"], "forbidden")

    def test_a_wrong_token_is_told_with_its_code(self):
        refused = {
            "unauthenticated": token("ann", secret="another-secret-0123456789abcdef012345"),
            "token_expired": token("ann", secs=-60),
        }
        for code, bad in refused.items():
            device = Device(self.hub, self.transports)
            self.addCleanup(device.close)
            with self.assertRaises(socketio.exceptions.ConnectionError):
                device.connect({"token": bad}, retry=False)
            (error,) = device.take("connect_error")
            self.assertEqual(error["data"], {"code": code})

    def test_a_token_that_ends_is_told(self):
        device = self.device("ann", secs=2)
        device.take("auth:expiring")
        self.assertEqual(device.take("session:end")[0]["code"], 4401)
        device.take("disconnect")

    def test_binary_is_refused_and_the_connection_stays(self):
        order = new_order()
        device = self.device("ann", orders=[order])
        picture = {"orderId": order, "content": b"\xff\xd8\xff\xe0"}
        refusal = device.call("chat:message", picture)
        self.assertEqual(refusal["error"]["code"], "invalid_payload")
        self.assertTrue(device.call("order:join", {"orderId": order})["ok"])

    def test_removed_by_an_admin_it_stays_away(self):
        user = new_order()
        device = self.device(user)
        removed = self.hub.admin("DELETE", f"/admin/v1/users/{user}/sessions")
        self.assertEqual(removed, {"closed": 1})
        self.assertEqual(device.take("session:end")[0]["code"], 4403)
        device.take("disconnect")
        # Its last namespace is gone, and nothing brings it back.
        self.assertIsNone(device.sio._reconnect_task)
        self.assertFalse(device.sio.connected)

    def test_killed_and_started_again_it_rejoins_by_since_seq(self):
        hub = Hub(comes_back=True)
        self.addCleanup(hub.close)
        order = new_order()
        device = self.device("ann", hub, orders=[order])
        device.call("order:join", {"orderId": order})
        device.call("chat:message", {"orderId": order, "content": "one"})
        device.take("chat:message")
        hub.kill_and_start_again()
        driver = self.device("driver-1", hub, role="driver", orders=[order])
        driver.call("chat:message", {"orderId": order, "content": "two"})
        device.take("connect")
        room = device.call("order:join", {"orderId": order, "sinceSeq": 1})
        self.assertTrue(room["recovered"])
        self.assertEqual([each["seq"] for each in room["messages"]], [2])

    def test_a_function_gives_each_connection_a_token(self):
        hub = Hub(comes_back=True)
        self.addCleanup(hub.close)
        given = []

        def auth():
            given.append(token("ann", orders=["order-1"], secs=3600 + len(given)))
            return {"token": given[-1]}

        device = Device(hub, self.transports)
        self.addCleanup(device.close)
        device.connect(auth)
        hub.kill_and_start_again()
        device.take("connect")
        self.assertEqual(len(given), 2)

    def test_after_a_stop_it_finds_the_next_process(self):
        hub = Hub(comes_back=True)
        self.addCleanup(hub.close)
        order = new_order()
        device = self.device("ann", hub, orders=[order])
        device.call("order:join", {"orderId": order})
        hub.stop_and_start_again()
        self.assertEqual(device.take("session:end")[0]["code"], 1012)
        device.take("connect")
        self.assertTrue(device.call("order:join", {"orderId": order})["ok"])


class OnWebSocket(ClientTests, unittest.TestCase):
    transports = ["websocket"]


class ByPolling(ClientTests, unittest.TestCase):
    transports = ["polling"]


class WhileUpgrading(ClientTests, unittest.TestCase):
    transports = ["polling", "websocket"]


if __name__ == "__main__":
    unittest.main()
