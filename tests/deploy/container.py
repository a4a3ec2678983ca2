"""The image in a container of runc, as Docker and Kubernetes start it: a user without rights, a root that is read-only,
no capabilities. It shares the network of the machine, so a test reaches it on loopback."""

import json
import os
import subprocess
import tempfile
import uuid
from pathlib import Path

from support import RELEASE, SECRET, free_ports, get, run, wait_for

(ARCHIVE,) = RELEASE.glob("*.oci.tar")


def unpack(folder: Path) -> Path:
    """A bundle of runc, by umoci, which knows OCI images from the specification alone."""
    layout = folder / "layout"
    layout.mkdir()
    run("tar", "--extract", "--file", ARCHIVE, "--directory", layout)
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    tag = manifest["annotations"]["org.opencontainers.image.ref.name"]
    run("umoci", "unpack", "--image", f"{layout}:{tag}", folder / "bundle")
    return folder / "bundle"


class Container:
    """`with Container(seccomp, SETTING="value") as container`: it is ready inside, and has drained behind."""

    def __init__(self, seccomp: dict | None = None, **settings: str):
        port, admin = free_ports(2)
        self.url, self.admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
        self.name = f"orderhub-test-{uuid.uuid4().hex[:12]}"
        self.seccomp = seccomp
        self.settings = {
            "BIND_ADDR": f"127.0.0.1:{port}", "ADMIN_BIND": f"127.0.0.1:{admin}", "JWT_SECRET": SECRET, **settings
        }

    def configure(self, bundle: Path, data: Path) -> None:
        path = bundle / "config.json"
        config = json.loads(path.read_text())
        config["root"]["readonly"] = True
        process = config["process"]
        process["terminal"] = False
        process["capabilities"] = {}
        process["env"] += [f"{name}={value}" for name, value in self.settings.items()]
        process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 4096, "hard": 4096}]
        linux = config["linux"]
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "network"]
        if self.seccomp:
            linux["seccomp"] = self.seccomp
        # What Docker and Kubernetes mount too.
        for source, to in ((data, "/data"), ("/etc/hosts", "/etc/hosts"), ("/etc/resolv.conf", "/etc/resolv.conf")):
            options = ["bind", "rw" if source == data else "ro"]
            config["mounts"].append({"type": "bind", "source": str(source), "destination": to, "options": options})
        path.write_text(json.dumps(config))

    def __enter__(self) -> "Container":
        self.folder = tempfile.TemporaryDirectory(prefix="orderhub-container.")
        folder = Path(self.folder.name)
        self.data = folder / "data"
        self.data.mkdir()
        os.chown(self.data, 10001, 10001)
        bundle = unpack(folder)
        self.configure(bundle, self.data)
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(["runc", "run", "--bundle", bundle, self.name], stdout=log, stderr=log)
        try:
            wait_for("the hub in the container is ready", self.is_ready)
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(self.log.read_text()) from error
        return self

    def is_ready(self) -> bool:
        return self.process.poll() is None and get(self.admin + "/readyz")[0] == 200

    def execute(self, *command: str) -> str:
        return run("runc", "exec", self.name, *command)

    def stop(self) -> int:
        """What `docker stop` does; the exit status of the hub."""
        if self.process.poll() is None:
            run("runc", "kill", self.name, "TERM")
        return self.process.wait(timeout=20)

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            run("runc", "delete", "--force", self.name)
            self.folder.cleanup()
