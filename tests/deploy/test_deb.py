"""The Debian package: installed, upgraded, stopped, removed and purged on this Debian, under a systemd of its own.

systemd-nspawn starts a machine whose root is this one's, with all changes in memory, and a network of its own.
"""

import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import DEPLOY, RELEASE, ROOT, run, version

(PACKAGE,) = RELEASE.glob("*.deb")
UNIT = """[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/out/deb-scenario
StandardOutput=file:/out/transcript
StandardError=inherit
TimeoutStartSec=180
"""
MACHINE = """
mount -t tmpfs tmpfs "$1"
mkdir "$1"/{changes,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
exec systemd-nspawn --quiet --register=no --keep-unit --link-journal=no --private-network --directory="$1/root" \
    --bind="$2:/out" --bind-ro="$2/scenario.service:/etc/systemd/system/scenario.service" \
    --boot systemd.unit=scenario.service
"""


def older(package: Path, to: Path, work: Path) -> None:
    """The same package as of an earlier version."""
    run("dpkg-deb", "--raw-extract", package, work)
    control = work / "DEBIAN" / "control"
    control.write_text(control.read_text().replace(f"\nVersion: {version()}", "\nVersion: 0.0.1"))
    run("dpkg-deb", "--build", "-Znone", work, to)


class Contents(unittest.TestCase):
    def test_it_says_what_it_is_and_needs(self):
        fields = dict(
            line.split(": ", 1) for line in run("dpkg-deb", "--field", PACKAGE).splitlines() if line and line[0] != " "
        )
        self.assertEqual((fields["Package"], fields["Version"]), ("orderhub", version()))
        self.assertIn("libc6 (>=", fields["Depends"])
        self.assertIn("adduser", fields["Depends"])
        names = {line.split()[-1] for line in run("dpkg-deb", "--contents", PACKAGE).splitlines()}
        self.assertLessEqual({
            "./usr/bin/orderhub", "./etc/orderhub/env", "./usr/lib/systemd/system/orderhub.service",
            "./usr/share/doc/orderhub/copyright", "./usr/share/doc/orderhub/THIRD-PARTY.txt",
            "./usr/share/doc/orderhub/operations.md", "./usr/share/man/man1/orderhub.1.gz",
            "./usr/share/bash-completion/completions/orderhub", "./usr/share/zsh/vendor-completions/_orderhub",
        }, names)

    def test_systemd_rates_the_unit_as_well_contained(self):
        # 20 is an exposure of 2.0, of at most 10.
        run("systemd-analyze", "security", "--offline=true", "--threshold=20", DEPLOY / "deb" / "orderhub.service")


class OnAMachine(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        work = tempfile.TemporaryDirectory(prefix="orderhub-deb.")
        cls.addClassCleanup(work.cleanup)
        root, cls.out = Path(work.name, "machine"), Path(work.name, "out")
        root.mkdir()
        cls.out.mkdir()
        shutil.copy(PACKAGE, cls.out / "new.deb")
        older(PACKAGE, cls.out / "old.deb", Path(work.name, "older"))
        shutil.copy(ROOT / "tests" / "deploy" / "deb-scenario", cls.out)
        (cls.out / "scenario.service").write_text(UNIT)
        machine = subprocess.run(
            ["unshare", "--mount", "bash", "-euc", MACHINE, "machine", root, cls.out],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
        )
        if not (cls.out / "done").exists():
            transcript = cls.out / "transcript"
            raise AssertionError(transcript.read_text() if transcript.exists() else machine.stdout)

    def noted(self, question: str) -> str:
        return (self.out / question).read_text().strip()

    def test_it_runs_at_once_as_a_user_of_its_own(self):
        self.assertEqual(self.noted("enabled"), "enabled")
        self.assertEqual(self.noted("user"), "orderhub")
        self.assertEqual(self.noted("data"), "orderhub 700")
        self.assertEqual(self.noted("env"), "root 600")
        self.assertIn("listens on 127.0.0.1:8080", self.noted("first-log"))

    def test_the_unit_is_in_order_and_in_force(self):
        self.assertEqual(self.noted("verify"), "")
        self.assertLessEqual(float(self.noted("exposure").split(": ")[1].split()[0]), 2.0)
        status = dict(line.split(":") for line in self.noted("status").splitlines())
        self.assertEqual({name: value.strip() for name, value in status.items()}, {
            "NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0000000000000000",
        })

    def test_an_upgrade_restarts_it_and_keeps_data_and_settings(self):
        self.assertEqual(self.noted("restarted"), "yes")
        self.assertEqual(self.noted("setting"), "DRAIN_SECS=3")
        made, kept = json.loads(self.noted("made")), json.loads(self.noted("kept"))
        self.assertEqual((kept["orderId"], kept["createdAt"]), (made["orderId"], made["createdAt"]))

    def test_a_stop_drains_it(self):
        self.assertEqual((self.noted("stopped"), self.noted("result")), ("0", "success"))
        self.assertIn("draining", self.noted("last-log"))

    def test_to_remove_it_keeps_data_and_settings_and_to_purge_it_does_not(self):
        self.assertEqual(self.noted("removed").count("No such file"), 2)
        self.assertIn("orderhub.sqlite3", self.noted("left"))
        self.assertIn("/etc/orderhub/env", self.noted("left"))
        self.assertIn(self.noted("active"), ("inactive", "unknown"))
        self.assertEqual(self.noted("purged").count("No such file"), 2)


if __name__ == "__main__":
    unittest.main()
