"""Receives webhooks of orderhub: verifies them, and sends a push through Expo to those who did not see a message.

    WEBHOOK_SECRETS=whsec_… PUSH_TOKENS='{"ann":"ExponentPushToken[…]"}' python3 receiver.py [PORT]

Needs `pip install standardwebhooks`. While a secret is replaced, WEBHOOK_SECRETS holds both, with a comma. The
endpoint in WEBHOOKS_FILE has `events = ["chat.unread"]`. EXPO_URL is where pushes are sent.
"""

import json
import os
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

EXPO_URL = os.environ.get("EXPO_URL", "https://exp.host/--/api/v2/push/send")
MAX_BODY_BYTES = 1024 * 1024
REMEMBER_SECS = 24 * 3600

VERIFIERS = [Webhook(secret.strip()) for secret in os.environ["WEBHOOK_SECRETS"].split(",")]
PUSH_TOKENS = json.loads(os.environ.get("PUSH_TOKENS", "{}"))  # A back end has a table of them.
DONE = {}  # webhook-id -> when: each may come more than once.
UNDER_WAY = set()  # Those that are being done now.
LOCK = threading.Lock()


def verified(body, headers):
    """The webhook, if one of the secrets has signed it."""
    for verifier in VERIFIERS:
        try:
            return verifier.verify(body, headers)
        except WebhookVerificationError:
            pass  # Another secret may have signed it.
    return None


def push(data):
    to = PUSH_TOKENS.get(data["userId"])
    if to is None:
        return
    newest = data["messages"][-1]
    body = "Sent a picture" if newest["type"] == "IMAGE" else newest["content"]
    message = {"to": to, "title": newest["senderName"], "body": body}
    message |= {"badge": data["unread"], "data": {"orderId": data["orderId"]}}
    request = urllib.request.Request(
        EXPO_URL, json.dumps([message]).encode(), {"content-type": "application/json"}
    )
    # Raises where Expo does not answer 2xx.
    urllib.request.urlopen(request, timeout=3).close()


def already_done(name, now):
    for old in [old for old, at in list(DONE.items()) if now - at > REMEMBER_SECS]:
        DONE.pop(old, None)
    return name in DONE


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10  # For a client that says nothing.

    def do_POST(self):
        try:
            status = self.receive()
        except Exception as error:  # Whatever it was, the hub tries again.
            print(error, file=sys.stderr)
            status = 500
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def receive(self):
        length = int(self.headers.get("content-length", 0))
        if not 0 <= length <= MAX_BODY_BYTES:
            self.close_connection = True
            return 413
        headers = {name.lower(): value for name, value in self.headers.items()}
        webhook = verified(self.rfile.read(length), headers)
        if webhook is None:
            return 401
        name = headers["webhook-id"]
        with LOCK:
            if already_done(name, time.time()):
                return 204
            if name in UNDER_WAY:
                return 503
            UNDER_WAY.add(name)
        try:
            # The push comes before the answer: where it fails, the hub tries again.
            if webhook["type"] == "chat.unread":
                push(webhook["data"])
            DONE[name] = time.time()
        finally:
            UNDER_WAY.discard(name)
        return 204

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int((sys.argv[1:] or ["3000"])[0])), Receiver)
    print(f"listens on {server.server_address[1]}", flush=True)
    server.serve_forever()
