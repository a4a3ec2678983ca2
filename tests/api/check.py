"""Checks a hub against its own description: that /openapi.json is OpenAPI 3.1, and, with requests
that schemathesis makes up from it, that every answer is one that it names.

    ORDERHUB_BIN=target/debug/orderhub python tests/api/check.py

The requests follow from a fixed seed. The last line counts the calls that were checked.
"""

import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
import xml.etree.ElementTree

from openapi_spec_validator import OpenAPIV31SpecValidator

HERE = pathlib.Path(__file__).resolve().parent
HUB = os.environ["ORDERHUB_BIN"]
SEED = 20261126
# Requests made up for one call; those that follow from its bounds one by one come on top.
EXAMPLES = 15
# For a user who may do little: that most calls are refused is what is to be checked.
MOST_IS_REFUSED = ("--warnings", "missing_deserializer,unused_openapi_auth,unsupported_regex")
# As long as the whole may take, in seconds.
PATIENCE = 300


def hub(folder, *arguments, **options):
    settings = {
        "DATA_DIR": str(folder / "data"),
        "BIND_ADDR": "127.0.0.1:0",
        "API_KEYS_FILE": str(folder / "keys.toml"),
        # What is behind the rates is to be asked, too.
        "EVENTS_PER_SECOND": "0",
        "CHAT_PER_SECOND": "0",
        "PATH": os.environ["PATH"],
    }
    if (folder / "webhooks.toml").exists():
        settings["WEBHOOKS_FILE"] = str(folder / "webhooks.toml")
    return subprocess.Popen([HUB, *arguments], env=settings, text=True, **options)


def said(process):
    """What a command that ends by itself says on stdout and stderr."""
    words = process.communicate(timeout=30)
    if process.returncode:
        sys.exit(f"{process.args} failed: {words}")
    return words


def api_key(folder):
    """A key that may do everything, unlike a user, whom a request may remove or revoke."""
    scopes = ["orders:read", "orders:write", "events:write", "chat:write", "users:write"]
    scopes += ["admin:read", "admin:write", "metrics:read"]
    arguments = [argument for scope in scopes for argument in ("--scope", scope)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    key, entry = said(hub(folder, "api-key", "checker", *arguments, **pipes))
    (folder / "keys.toml").write_text(entry)
    return key.strip()


def token(folder, user, role):
    arguments = ["token", "--user", user, "--role", role]
    return said(hub(folder, *arguments, stdout=subprocess.PIPE))[0].strip()


def schemathesis(folder, base, name, credential, *arguments):
    """The calls that were checked, and those that failed."""
    report = folder / f"{name}.xml"
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", str(folder / "openapi.json")]
    command += ["--url", base, "--header", f"Authorization: Bearer {credential}"]
    command += ["--seed", str(SEED), "--max-examples", str(EXAMPLES)]
    command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure"]
    command += ["--report-junit-path", str(report), *arguments]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    print(f"\n-- as {name}", flush=True)
    ended = subprocess.run(command, cwd=folder, env=environment, timeout=PATIENCE, check=False)
    suite = xml.etree.ElementTree.parse(report).getroot()
    failed = [case for case in suite.iter("testcase") if len(case)]
    tested = len(list(suite.iter("testcase")))
    # Whatever else went wrong must not pass for a run without failures.
    return tested, len(failed) or bool(ended.returncode)


@contextlib.contextmanager
def running_hub(folder):
    """A hub that ends behind it: its process, where it listens, and its description, which is also in
    openapi.json."""
    # Nothing listens there: its webhooks wait, which is what admins look at.
    secret = base64.b64encode(bytes(32)).decode()
    (folder / "webhooks.toml").write_text(
        f'[[endpoints]]\nname = "push"\nurl = "http://127.0.0.1:9/"\n'
        f'secrets = ["whsec_{secret}"]\nevents = ["*"]\n'
    )
    with (folder / "log").open("w") as log:
        process = hub(folder, stdout=subprocess.PIPE, stderr=log)
    try:
        base = process.stdout.readline().strip().removeprefix("orderhub listens on ")
        with urllib.request.urlopen(f"{base}/openapi.json", timeout=10) as answer:
            document = json.load(answer)
        (folder / "openapi.json").write_text(json.dumps(document))
        yield process, base, document
    finally:
        process.terminate()
        process.wait(timeout=30)


def check(folder):
    key = api_key(folder)
    with running_hub(folder) as (running, base, document):
        OpenAPIV31SpecValidator(document).validate()
        print(f"{base}/openapi.json is OpenAPI {document['openapi']}")
        counts = [
            (1, 0),
            schemathesis(folder, base, "a service", key),
            schemathesis(
                folder, base, "a customer", token(folder, "customer-1", "customer"), *MOST_IS_REFUSED
            ),
            schemathesis(
                folder, base, "a driver", token(folder, "driver-1", "driver"),
                "--include-path-regex", "^/api/v1/drivers/me/",
            ),
        ]
        if running.poll() is not None:
            sys.exit(f"the hub is gone:\n{(folder / 'log').read_text()}")
        panics = [line for line in (folder / "log").read_text().splitlines() if "panicked" in line]
        if panics:
            sys.exit("\n".join(panics))
        return sum(tested for tested, _ in counts), sum(failed for _, failed in counts)


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="orderhub-api.") as folder:
        tested, failed = check(pathlib.Path(folder))
    outcome = "FAILED" if failed else "ok"
    took = time.monotonic() - began
    print(f"\ntest result: {outcome}. {tested - failed} passed; {failed} failed; 0 ignored; "
          f"finished in {took:.0f}s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
