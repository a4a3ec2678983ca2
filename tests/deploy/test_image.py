"""The image: what is in it, and how it is configured."""

import hashlib
import json
import re
import shlex
import stat
import tempfile
import unittest
from pathlib import Path

from container import ARCHIVE, unpack
from support import BINARY, DEPLOY, run, version


def configuration() -> dict:
    """The configuration of the image, found as a reader finds it."""

    def blob(digest: str) -> dict:
        return json.loads(run("tar", "--extract", "--to-stdout", "--file", ARCHIVE, f"blobs/{digest.replace(':', '/')}"))

    index = json.loads(run("tar", "--extract", "--to-stdout", "--file", ARCHIVE, "index.json"))
    return blob(blob(index["manifests"][0]["digest"])["config"]["digest"])["config"]


def dockerfile() -> dict[str, list[str]]:
    """The instructions of the last stage of Dockerfile."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text[text.rindex("\nFROM "):].splitlines():
        if line and not line.startswith("#"):
            instruction, rest = line.split(maxsplit=1)
            found.setdefault(instruction, []).append(rest)
    return found


class Image(unittest.TestCase):
    def test_the_same_files_make_the_same_image(self):
        with tempfile.TemporaryDirectory() as folder:
            # The time that the release was made with: that of the last commit.
            run(DEPLOY / "image", BINARY, Path(folder, "again"))
            again = hashlib.sha256(Path(folder, "again").read_bytes()).hexdigest()
        self.assertEqual(again, hashlib.sha256(ARCHIVE.read_bytes()).hexdigest())

    def test_it_holds_a_hub_and_no_shell(self):
        with tempfile.TemporaryDirectory() as folder:
            root = unpack(Path(folder)) / "rootfs"
            programs = [
                str(path.relative_to(root)) for path in root.rglob("*")
                if path.is_file() and path.stat().st_mode & stat.S_IXUSR and ".so" not in path.name
            ]
            self.assertEqual(programs, ["usr/bin/orderhub"])
            size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            self.assertLess(size - (root / "usr/bin/orderhub").stat().st_size, 35_000_000)
            data = (root / "data").stat()
            self.assertEqual((data.st_uid, data.st_gid, stat.S_IMODE(data.st_mode)), (10001, 10001, 0o700))
            for path in root.rglob("*"):
                self.assertFalse(path.stat().st_mode & (stat.S_ISUID | stat.S_IWOTH), path)
            # Scanners of images look here for what the libraries are.
            packages = {path.name for path in (root / "var/lib/dpkg/status.d").iterdir()}
            self.assertLessEqual({"libc6", "libgcc-s1", "ca-certificates"}, packages)
            for package in packages | {"orderhub"}:
                self.assertTrue(list((root / "usr/share/doc" / package).iterdir()), package)
            self.assertIn("serde_json", (root / "usr/share/doc/orderhub/THIRD-PARTY.txt").read_text())

    def test_dockerfile_makes_the_same_configuration(self):
        made, said = configuration(), dockerfile()
        self.assertEqual(said["USER"], [made["User"]])
        self.assertEqual(said["WORKDIR"], [made["WorkingDir"]])
        self.assertEqual({f"{port}/tcp": {} for port in said["EXPOSE"]}, made["ExposedPorts"])
        self.assertEqual({volume: {} for volume in said["VOLUME"]}, made["Volumes"])
        self.assertEqual(shlex.split(said["ENV"][0]), made["Env"])
        self.assertEqual(json.loads(said["ENTRYPOINT"][0]), made["Entrypoint"])
        options, command = said["HEALTHCHECK"][0].split(" CMD ")
        self.assertEqual(["CMD", *json.loads(command)], made["Healthcheck"]["Test"])
        seconds = {name: int(value) * 10**9 for name, value in re.findall(r"--([a-z-]+)=(\d+)s", options)}
        self.assertEqual(seconds, {
            "interval": made["Healthcheck"]["Interval"],
            "timeout": made["Healthcheck"]["Timeout"],
            "start-period": made["Healthcheck"]["StartPeriod"],
        })
        labels = dict(each.split("=", 1) for each in shlex.split(said["LABEL"][0]))
        self.assertEqual(labels["org.opencontainers.image.version"], version())
        self.assertLessEqual(set(labels), set(made["Labels"]))


if __name__ == "__main__":
    unittest.main()
