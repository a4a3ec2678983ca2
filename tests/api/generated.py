"""Makes clients out of a hub's /openapi.json with two generators, sees that they leave nothing out, and
makes typed calls with them: openapi-python-client, and openapi-typescript with openapi-fetch.

    ORDERHUB_BIN=target/debug/orderhub python tests/api/generated.py

The folder `typescript` wants `npm ci` before. The last line counts what was checked.
"""

import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from check import HERE, PATIENCE, api_key, running_hub

METHODS = {"get", "put", "post", "delete", "patch"}


def run(command, **options):
    """What a command says; ends this program where it fails."""
    ended = subprocess.run(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False, **options
    )
    if ended.returncode:
        sys.exit(f"{command} failed:\n{ended.stdout}")
    return ended.stdout


def python_client(folder, document):
    """Generates the client of Python; every call must be there."""
    # Without formatting: it changes nothing of what the client does.
    (folder / "config.yml").write_text("package_name_override: generated_hub\npost_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"]
    command += ["--path", str(folder / "openapi.json"), "--config", str(folder / "config.yml")]
    said = run([*command, "--output-path", str(folder / "python")])
    assert "arning" not in said, said
    wanted = {call["operationId"] for item in document["paths"].values() for name, call in item.items() if name in METHODS}
    found = {path.stem for path in (folder / "python").glob("generated_hub/api/*/*.py")} - {"__init__"}
    assert found == wanted, f"left out: {wanted - found}"
    sys.path.insert(0, str(folder / "python"))
    return len(wanted)


def python_calls(base, key):
    """A typed call of each kind that generators have left out, and of lists and objects in bodies."""
    client = importlib.import_module("generated_hub").AuthenticatedClient(base_url=base, token=key)
    models = importlib.import_module("generated_hub.models")

    def call(tag, name, *arguments, **options):
        module = importlib.import_module(f"generated_hub.api.{tag}.{name}")
        answer = module.sync(*arguments, client=client, **options)
        assert not hasattr(answer, "title"), f"{name}: {answer}"
        return answer

    data = lambda form: importlib.import_module("generated_hub.models").__dict__[form].from_dict({"eta": "12:30", "stops": [1]})
    orders = [models.OrderForm(order_id="py-1", status="NEW"), models.OrderForm(order_id="py-2", status="bad")]
    results = call("orders", "put_orders", body=orders)
    assert [(result.line, result.ok) for result in results] == [(1, True), (2, False)], results
    assert results[1].error.field == "status", results
    form = models.StatusForm(status="ON_THE_WAY", data=data("StatusFormDataType0"))
    assert call("orders", "set_status", "py-1", body=form).status == "ON_THE_WAY"
    form = models.EventForm(event="kitchen:ready", data=data("EventFormDataType0"))
    assert call("events", "send_to_room", "py-1", body=form).delivered == 0
    form = models.EventForm(event="kitchen:ready", data=["a", {"b": 1}])
    assert call("events", "send_to_user", "customer-1", body=form).delivered == 0
    form = models.UsersEventForm(event="kitchen:ready", user_ids=["customer-1", 7], data=data("UsersEventFormDataType0"))
    assert call("events", "send_to_users", body=form).delivered == 0
    fixes = models.FixesFormType0(locations=[models.OwnFix(lat=45.2735, lng=13.7142)])
    assert call("positions", "post_positions", "py-1", body=fixes).accepted == 0
    listed = call("orders", "list_orders", status="ON_THE_WAY")
    assert [order.order_id for order in listed.orders] == ["py-1"], listed
    return 7


def typescript_client(folder, base, key):
    """Generates the types, checks calls against them with the compiler, and makes the calls."""
    source = HERE / "typescript"
    # Below its packages, where both compiler and Node look for them.
    with tempfile.TemporaryDirectory(prefix="generated.", dir=source / "node_modules") as place:
        place = pathlib.Path(place)
        programs = source / "node_modules" / ".bin"
        said = run([programs / "openapi-typescript", folder / "openapi.json", "--output", place / "hub.d.ts"])
        assert "arning" not in said, said
        shutil.copy(source / "calls.ts", place)
        (place / "package.json").write_text('{"type":"module"}')
        options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"]
        run([programs / "tsc", *options, "calls.ts"], cwd=place)
        said = run(["node", "calls.js"], cwd=place, env=os.environ | {"HUB": base, "KEY": key})
    return int(said.split()[-1])


def check(folder):
    key = api_key(folder)
    with running_hub(folder) as (_, base, document):
        calls = python_client(folder, document)
        print(f"openapi-python-client: all {calls} calls")
        made = python_calls(base, key) + typescript_client(folder, base, key)
        print(f"{made} typed calls of both were answered as they say")
        return 2 + made


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="orderhub-api.") as folder:
        passed = check(pathlib.Path(folder))
    took = time.monotonic() - began
    print(f"\ntest result: ok. {passed} passed; 0 failed; 0 ignored; finished in {took:.0f}s")


if __name__ == "__main__":
    main()
