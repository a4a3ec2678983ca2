"""The files of a release, its versions, and the workflow that makes it."""

import gzip
import os
import re
import tempfile
import unittest
from pathlib import Path

from support import BINARY, DEPLOY, RELEASE, ROOT, refused, run, version

MACHINE = f"{os.uname().machine}-linux"


class Release(unittest.TestCase):
    def test_there_is_a_checksum_of_every_file(self):
        run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=RELEASE)
        named = {line.split()[1] for line in (RELEASE / "SHA256SUMS").read_text().splitlines()}
        self.assertEqual(named | {"SHA256SUMS"}, {path.name for path in RELEASE.iterdir()})

    def test_the_tarball_has_a_hub_that_runs_and_what_it_needs(self):
        name = f"orderhub-{version()}-{MACHINE}"
        with tempfile.TemporaryDirectory() as folder:
            run("tar", "--extract", "--file", RELEASE / f"{name}.tar.gz", "--directory", folder)
            root = Path(folder, name)
            self.assertEqual(run(root / "orderhub", "--version").strip(), f"orderhub {version()}")
            for file in ("THIRD-PARTY.txt", "LICENSE-MIT", "orderhub.service", "env", "seccomp.json", "orderhub.1", "orderhub.bash", "docs/operations.md"):
                self.assertTrue((root / file).is_file(), file)

    def test_the_packed_chart_is_the_chart(self):
        archive = RELEASE / f"orderhub-chart-{version()}.tgz"
        options = ["--kube-version", "1.30", "--values", DEPLOY / "helm" / "orderhub" / "ci" / "postgres-ingress-values.yaml"]
        packed = run("helm", "template", "shop", archive, *options)
        self.assertEqual(packed, run("helm", "template", "shop", DEPLOY / "helm" / "orderhub", *options))

    def test_the_debug_symbols_are_those_of_the_binary(self):
        with tempfile.TemporaryDirectory() as folder:
            symbols = Path(folder, "orderhub.debug")
            packed = RELEASE / f"orderhub-{version()}-{MACHINE}.debug.gz"
            symbols.write_bytes(gzip.decompress(packed.read_bytes()))
            built = [re.search(r"Build ID: (\w+)", run("readelf", "--notes", file))[1] for file in (symbols, BINARY)]
            self.assertEqual(built[0], built[1])
        self.assertNotIn(".debug_info", run("readelf", "--sections", "--wide", BINARY))

    def test_all_that_names_a_version_names_this_one(self):
        self.assertIn(f"\n## [{version()}]", (ROOT / "CHANGELOG.md").read_text())
        for file in ("deploy/Dockerfile", "deploy/compose.yaml", "deploy/image"):
            named = re.findall(r"orderhub:(\d+\.\d+\.\d+)|image\.version=(\d\S*)", (ROOT / file).read_text())
            self.assertEqual({one or other for one, other in named}, {version()}, file)

    def test_a_licence_that_may_not_be_linked_is_refused(self):
        text = (DEPLOY / "licences").read_text()
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder, "deploy", "licences")
            script.parent.mkdir()
            script.write_text(text.replace(' "ISC",', "").replace("parents[1]", f"parents[1]; ROOT = Path({str(ROOT)!r})"))
            self.assertIn("rustls-webpki", refused("python3", script))

    def test_the_workflow_fits_the_schema_of_github(self):
        run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", ROOT / ".github/workflows/release.yaml")


if __name__ == "__main__":
    unittest.main()
