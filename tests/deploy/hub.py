"""A hub of the shipped binary on ports of its own, with a database in a temporary folder."""

import os
import subprocess
import tempfile
from pathlib import Path

from support import BINARY, SECRET, free_ports, get, wait_for


class Hub:
    """`with Hub(SETTING="value") as hub`: it is ready inside, and has drained behind."""

    def __init__(self, **settings: str):
        port, admin = free_ports(2)
        self.port = port
        self.url, self.admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
        self.settings = {"BIND_ADDR": f"127.0.0.1:{port}", "ADMIN_BIND": f"127.0.0.1:{admin}", "JWT_SECRET": SECRET, **settings}

    def __enter__(self) -> "Hub":
        self.folder = tempfile.TemporaryDirectory(prefix="orderhub-deploy.")
        self.log = Path(self.folder.name, "log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [BINARY], stdout=log, stderr=log, cwd=self.folder.name, env={"PATH": os.environ["PATH"], **self.settings}
            )
        wait_for("the hub is ready", lambda: get(self.admin + "/readyz")[0] == 200)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        ended = self.process.wait(timeout=20)
        self.folder.cleanup()
        if ended:
            raise AssertionError(f"the hub ended with {ended}")
