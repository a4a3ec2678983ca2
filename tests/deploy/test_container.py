"""A hub in a container of the image."""

import json
import os
import unittest
from pathlib import Path

import seccomp_profile
from container import Container
from support import DEPLOY, get, run

DEFAULT = json.loads(Path(os.environ["SECCOMP_PROFILES"], "default.json").read_text())


class InAContainer(unittest.TestCase):
    def test_a_hub_on_a_root_that_is_read_only_is_ready_and_drains(self):
        with Container() as container:
            self.assertEqual(container.execute("/usr/bin/orderhub", "healthcheck"), "")
            self.assertEqual(get(container.url + "/metrics")[0], 404)
            self.assertEqual(get(container.admin + "/metrics")[0], 200)
            self.assertIn("orderhub.sqlite3", {path.name for path in container.data.iterdir()})
            self.assertEqual(container.stop(), 0)

    def test_it_finds_the_postgresql_server_by_its_name(self):
        url = os.environ["TEST_DATABASE_URL"].replace("127.0.0.1", "localhost")
        schema = f"image_{os.getpid()}"
        self.addCleanup(run, "psql", url, "--command", f"drop schema {schema} cascade")
        run("psql", url, "--command", f"create schema {schema}")
        with Container(DATABASE_URL=f"{url}?options=-c%20search_path%3D{schema}") as container:
            self.assertIn("applied", container.execute("/usr/bin/orderhub", "migrate", "--status"))

    def test_the_profile_is_that_of_docker_and_allows_io_uring(self):
        profile = json.loads((DEPLOY / "seccomp.json").read_text())
        self.assertEqual(profile, seccomp_profile.derive(DEFAULT, [seccomp_profile.IO_URING]))
        with Container(profile) as container:
            self.assertIn("io_uring is in use: one system call writes many sockets", container.log.read_text())

    def test_a_hub_serves_under_the_default_profile_of_docker_too(self):
        with Container(seccomp_profile.derive(DEFAULT, [])) as container:
            self.assertIn("io_uring is not available (Operation not permitted", container.log.read_text())


if __name__ == "__main__":
    unittest.main()
