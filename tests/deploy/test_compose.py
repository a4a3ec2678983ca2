"""compose.yaml, and the nginx in it before a hub."""

import base64
import os
import re
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from hub import Hub
from support import BINARY, DEPLOY, SECRET, free_ports, get, known_settings, run, version, wait_for

COMPOSE = DEPLOY / "compose.yaml"


def services() -> dict:
    return yaml.safe_load(COMPOSE.read_text())["services"]


class Nginx:
    """Debian's nginx with the configuration of compose.yaml, before a hub of the tests."""

    def __init__(self, hub: Hub):
        (port,) = free_ports(1)
        self.url, self.port = f"http://127.0.0.1:{port}", port
        site = (DEPLOY / "nginx" / "default.conf").read_text()
        site = site.replace("hub:8080", f"127.0.0.1:{hub.port}").replace("listen 8080", f"listen 127.0.0.1:{port}")
        self.folder = tempfile.TemporaryDirectory(prefix="orderhub-nginx.")
        kept = "".join(f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.configuration = Path(self.folder.name, "nginx.conf")
        self.configuration.write_text(
            f"daemon off; pid {self.folder.name}/pid; error_log stderr; events {{}} http {{ access_log off; {kept} {site} }}"
        )

    def __enter__(self) -> "Nginx":
        self.process = subprocess.Popen(["nginx", "-p", self.folder.name, "-c", self.configuration])
        wait_for("nginx answers", lambda: get(self.url)[0] == 404)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=20)
        self.folder.cleanup()


def upgrade(port: int, path: str, token: str) -> str:
    """The first line of the answer to a WebSocket's request."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = {
        "Host": "hub.example.com", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key, "Authorization": f"Bearer {token}",
    }
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\n{''.join(f'{n}: {v}{chr(13)}{chr(10)}' for n, v in head.items())}\r\n".encode())
        return client.makefile("rb").readline().decode().strip()


class Compose(unittest.TestCase):
    def test_it_fits_the_schema_of_compose(self):
        run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)

    def test_the_hub_knows_its_settings_and_accepts_them(self):
        hub = services()["hub"]
        self.assertEqual(set(hub["environment"]) - known_settings(), set())
        filled = {"JWT_SECRET": SECRET, "POSTGRES_PASSWORD": "pass"}
        settings = {
            name: re.sub(r"\$\{(\w+):-?([^}]*)\}", lambda found: filled.get(found[1], found[2].strip("?")), value)
            for name, value in hub["environment"].items()
        }
        run(BINARY, "check-config", env=settings)

    def test_what_it_names_is_there(self):
        for name, service in services().items():
            sources = [volume.split(":")[0] for volume in service.get("volumes", []) if volume.startswith(".")]
            sources += [option.split("=")[1] for option in service.get("security_opt", []) if option.startswith("seccomp=")]
            for source in sources:
                self.assertTrue((DEPLOY / source).exists(), f"{name}: {source}")
        self.assertIn(f":-orderhub:{version()}}}", services()["hub"]["image"])

    def test_nginx_passes_what_apps_use_and_nothing_else(self):
        with Hub(TRUSTED_PROXIES="127.0.0.1") as hub, Nginx(hub) as nginx:
            token = run(BINARY, "token", "--user", "d", "--role", "driver", env={"JWT_SECRET": SECRET}).strip()
            self.assertEqual(upgrade(nginx.port, "/ws", token), "HTTP/1.1 101 Switching Protocols")
            self.assertEqual(
                upgrade(nginx.port, "/socket.io/?EIO=4&transport=websocket", token), "HTTP/1.1 101 Switching Protocols"
            )
            status, opened = get(nginx.url + "/socket.io/?EIO=4&transport=polling")
            self.assertEqual((status, opened[:1]), (200, "0"))
            self.assertEqual(get(nginx.url + "/api/v1/drivers/me/locations")[0], 405)
            for inside in ("/metrics", "/admin/v1/stats", "/readyz", "/docs", "/api/v1/orders/order-1"):
                self.assertEqual(get(nginx.url + inside, Authorization=f"Bearer {token}")[0], 404, inside)
                self.assertNotEqual(get(hub.admin + inside)[0], 0, inside)


if __name__ == "__main__":
    unittest.main()
