"""What the tests of deploy/ have in common: where things are, commands, and a hub's HTTP."""

import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "orderhub"
# What `deploy/release` made, and the binary in it.
RELEASE = Path(os.environ["RELEASE_FILES"])
BINARY = ROOT / "target" / "ship" / "orderhub"

SECRET = "a-secret-of-the-tests-with-32-bytes-and-more"
PATIENCE = 30.0


def version() -> str:
    return re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def run(*command: object, **options: object) -> str:
    """The output of a command that must succeed; what it said is in the error otherwise."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        raise AssertionError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def refused(*command: object, **options: object) -> str:
    """What a command said that must fail."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode == 0:
        raise AssertionError(f"{command[0]} should have failed:\n{done.stdout}")
    return done.stdout + done.stderr


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def get(url: str, **headers: str) -> tuple[int, str]:
    """The status and the body of an answer; status 0 where there is none."""
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, OSError):
        return 0, ""


def wait_for(what: str, true: object, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.05)


def known_settings() -> set[str]:
    """The variables that the hub reads."""
    return set(re.findall(r"\[env: ([A-Z0-9_]+)", run(BINARY, "serve", "--help")))
