"""The receiver of webhooks in `examples/webhooks`: who did not see a message gets a push, also while the secret is
replaced."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support import PATIENCE, ROOT, Hub, new_order, token


def secret():
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


class Expo(BaseHTTPRequestHandler):
    """What Expo would be sent."""

    pushes = []

    def do_POST(self):
        self.pushes.extend(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class WebhookTest(unittest.TestCase):
    def setUp(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Expo)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.expo = f"http://127.0.0.1:{server.server_address[1]}/push"
        folder = tempfile.TemporaryDirectory(prefix="orderhub-client-tests-")
        self.addCleanup(folder.cleanup)
        self.file = pathlib.Path(folder.name, "webhooks.toml")

    def start_receiver(self, secrets):
        env = os.environ | {
            "WEBHOOK_SECRETS": ",".join(secrets),
            "PUSH_TOKENS": json.dumps({"ana": "ExponentPushToken[ana]"}),
            "EXPO_URL": self.expo,
        }
        program = str(ROOT / "examples/webhooks/receiver.py")
        child = subprocess.Popen([sys.executable, program, "0"], env=env, stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return int(child.stdout.readline().removeprefix("listens on "))

    def write(self, port, secrets):
        draft = self.file.with_name("draft")
        draft.write_text(
            f'[[endpoints]]\nname = "push"\nurl = "http://127.0.0.1:{port}/"\n'
            f'secrets = {json.dumps(secrets)}\nevents = ["chat.unread"]\n'
        )
        draft.replace(self.file)

    def call(self, method, path, body):
        headers = {
            "authorization": "Bearer " + token("shop", role="service"),
            "content-type": "application/json",
        }
        url = f"{self.hub.url}/api/v1/orders/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
        urllib.request.urlopen(request, timeout=PATIENCE).close()

    def wait_for(self, what, ask):
        end = time.monotonic() + PATIENCE
        while not ask():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.01)

    def check_push(self, text):
        order = new_order()
        self.call("PUT", order, {"participants": [{"userId": "ana", "role": "customer"}]})
        self.call("POST", order + "/messages", {"senderId": "bob", "senderName": "Bob", "content": text})
        self.wait_for(f"a push that says {text}", lambda: any(push["body"] == text for push in Expo.pushes))
        push = next(push for push in Expo.pushes if push["body"] == text)
        wanted = {"to": "ExponentPushToken[ana]", "title": "Bob", "body": text, "badge": 1}
        self.assertEqual(push, wanted | {"data": {"orderId": order}})

    def test_a_push_is_sent_also_while_the_secret_is_replaced(self):
        first, second = secret(), secret()
        port = self.start_receiver([second, first])
        self.write(port, [first])
        self.hub = Hub(WEBHOOKS_FILE=str(self.file), UNREAD_AFTER_SECS="1")
        self.addCleanup(self.hub.close)
        self.check_push("one")
        for secrets in ([second, first], [second]):
            before = self.hub.log().count("WEBHOOKS_FILE: 1 endpoints of")
            self.write(port, secrets)
            self.wait_for(
                "the new version",
                lambda: self.hub.log().count("WEBHOOKS_FILE: 1 endpoints of") > before,
            )
            self.check_push(f"with {len(secrets)}")
        forged = urllib.request.Request(f"http://127.0.0.1:{port}/", b"{}", {"webhook-id": "msg_1"})
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(forged, timeout=PATIENCE)
        self.assertEqual(refused.exception.code, 401)
        refused.exception.close()


if __name__ == "__main__":
    unittest.main()
