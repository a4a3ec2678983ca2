"""A hub in a process of its own, tokens for it, and what clients were told."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import queue
import random
import subprocess
import tempfile
import time
import urllib.request

import socketio

SECRET = "secret-for-tests-only-0123456789abcdef"

# How long anything may take, in seconds; generous, for slow machines.
PATIENCE = 20

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("ORDERHUB_BIN", str(ROOT / "target/debug/orderhub"))
BANNER = "orderhub listens on "


def _part(value):
    text = json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def token(user, role="customer", orders=(), secs=3600, secret=SECRET):
    """A token as a back end makes it: a JWT with HS256."""
    claims = {"id": user, "name": f"Name of {user}", "role": role}
    claims |= {"orders": list(orders), "exp": int(time.time()) + secs}
    body = _part({"alg": "HS256", "typ": "JWT"}) + b"." + _part(claims)
    mac = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def new_order():
    """The id of an order that no other test has."""
    return f"order-{os.getpid()}-{random.getrandbits(48):x}"


class Hub:
    """A hub that runs; `comes_back` keeps its port for a second life."""

    def __init__(self, comes_back=False, **env):
        self._folder = tempfile.TemporaryDirectory(prefix="orderhub-client-tests-")
        self._env = {"DATA_DIR": self._folder.name + "/data", "JWT_SECRET": SECRET} | env
        for _ in range(20):
            # Below the ports that the system gives away; where it is taken, another one.
            port = random.randrange(20_000, 32_000) if comes_back else 0
            if self._launch(port):
                return
        raise RuntimeError(f"the hub did not start:\n{self.log()}")

    def _launch(self, port):
        env = self._env | {"BIND_ADDR": f"127.0.0.1:{port}"}
        with open(self._folder.name + "/log", "a") as log:
            self._process = subprocess.Popen(
                [BINARY], env=env, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self._process.stdout.readline()
        if line.startswith(BANNER):
            self.url = line.removeprefix(BANNER).strip()
            return True
        self._end()
        return False

    def log(self):
        return pathlib.Path(self._folder.name, "log").read_text()

    def kill_and_start_again(self):
        self._end()
        if not self._launch(int(self.url.rsplit(":", 1)[1])):
            raise RuntimeError(f"the hub did not start again:\n{self.log()}")

    def stop_and_start_again(self):
        """SIGTERM, and the next process on the same port."""
        self._process.terminate()
        if self._process.wait(PATIENCE) != 0:
            raise RuntimeError(f"the hub did not stop in order:\n{self.log()}")
        self.kill_and_start_again()

    def admin(self, method, path):
        """Asks over HTTP, as an admin."""
        headers = {"Authorization": f"Bearer {token('admin-1', role='admin')}"}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.load(response)

    def _end(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def close(self):
        self._end()
        self._folder.cleanup()


class Device:
    """A user's device with python-socketio's client, on `/events`."""

    def __init__(self, hub, transports, **options):
        self._hub = hub
        self._transports = transports
        self._told = queue.Queue()
        self._kept = []
        options = {"reconnection_delay": 0.1, "reconnection_delay_max": 0.5} | options
        self.sio = socketio.Client(**options)
        self.on("*", lambda event, *args: self._told.put((event, args)))
        for event in ("connect", "disconnect", "connect_error"):
            self.on(event, lambda *args, event=event: self._told.put((event, args)))

    def on(self, event, handler):
        self.sio.on(event, handler, namespace="/events")

    def connect(self, auth, **options):
        self.sio.connect(
            self._hub.url,
            auth=auth,
            namespaces=["/events"],
            transports=self._transports,
            wait_timeout=PATIENCE,
            **options,
        )
        self.take("connect")
        return self

    def call(self, event, data):
        return self.sio.call(event, data, namespace="/events", timeout=PATIENCE)

    def emit(self, event, data):
        self.sio.emit(event, data, namespace="/events")

    def take(self, event):
        """The arguments of the first event of this name, taken out; others are kept."""
        for index, (name, args) in enumerate(self._kept):
            if name == event:
                del self._kept[index]
                return args
        end = time.monotonic() + PATIENCE
        while True:
            try:
                name, args = self._told.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                kept = [name for name, _ in self._kept]
                raise AssertionError(f"expected {event}, have {kept}") from None
            if name == event:
                return args
            self._kept.append((name, args))

    def close(self):
        self.sio.disconnect()
