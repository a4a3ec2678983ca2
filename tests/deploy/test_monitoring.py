"""Alerts and dashboards: Prometheus accepts them, each alert is tried, and what they ask for is in /metrics of a hub."""

import json
import re
import tempfile
import unittest
from itertools import combinations
from pathlib import Path

import yaml

from hub import Hub
from support import DEPLOY, get, run, wait_for

PROMETHEUS = DEPLOY / "prometheus"
BOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
ALERTS = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def panels(board: Path) -> list[dict]:
    return json.loads(board.read_text())["panels"]


def queries(board: Path) -> list[str]:
    """All expressions of a dashboard, with its variables filled in."""
    found = [target["expr"] for panel in panels(board) for target in panel.get("targets", [])]
    found += [each["expr"] for each in json.loads(board.read_text())["annotations"]["list"]]
    return [each.replace("$__rate_interval", "1m").replace("$instance", ".*") for each in found]


def series(expression: str) -> set[tuple[str, str, str]]:
    """What an expression asks for: metric, and each label that has one value or a choice of values."""
    asked = set()
    for name, labels in re.findall(r"\b((?:orderhub|process)_\w+)(?:\{([^}]*)\})?", expression):
        asked.add((name, "", ""))
        for label, equals, value in re.findall(r'(\w+)(=~?)"([^"]*)"', labels):
            if label not in ("instance", "job"):
                asked |= {(name, label, each) for each in (value.split("|") if equals == "=~" else [value])}
    return asked


class Monitoring(unittest.TestCase):
    def test_prometheus_accepts_its_configuration_and_the_alerts(self):
        run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")

    def test_each_alert_fires_when_it_should_and_not_otherwise(self):
        run("promtool", "test", "rules", PROMETHEUS / "alerts_test.yaml")
        tried = {test["name"] for test in yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text())["tests"]}
        self.assertEqual(tried, {rule["alert"] for rule in ALERTS})

    def test_prometheus_can_read_every_query_of_a_dashboard(self):
        rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(q for b in BOARDS for q in queries(b))]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
            file.flush()
            run("promtool", "check", "rules", file.name)

    def test_a_running_hub_has_every_metric_and_label_that_is_asked_for(self):
        entry = 'name = "push"\nurl = "https://shop.example/"\nevents = ["*"]\n'
        entry += 'secrets = ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]\n'
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("[[endpoints]]\n" + entry)
            file.flush()
            hooks = {"HOOK_SECRET": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}
            hooks["JOIN_HOOK_URL"] = "https://shop.example/"
            with Hub(WEBHOOKS_FILE=file.name, **hooks) as hub:
                shown = "orderhub_webhooks_dead{"
                wait_for("the count of webhooks", lambda: shown in get(hub.admin + "/metrics")[1])
                _, text = get(hub.admin + "/metrics")
        had = set()
        for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
            had.add((name, "", ""))
            had |= {(name, label, value) for label, value in re.findall(r'(\w+)="([^"]*)"', labels)}
        for query in [rule["expr"] for rule in ALERTS] + [query for board in BOARDS for query in queries(board)]:
            with self.subTest(query):
                self.assertTrue(series(query) or "up{" in query)
                self.assertEqual(series(query) - had, set())

    def test_panels_have_their_own_place_and_number(self):
        for board in BOARDS:
            places = [panel["gridPos"] for panel in panels(board)]
            for one, other in combinations(places, 2):
                apart = (
                    one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                    or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
                )
                self.assertTrue(apart, f"{board.name}: {one} and {other}")
            self.assertTrue(all(place["x"] + place["w"] <= 24 for place in places))
            self.assertEqual(len({panel["id"] for panel in panels(board)}), len(places))
        self.assertEqual(len({json.loads(board.read_text())["uid"] for board in BOARDS}), len(BOARDS))


if __name__ == "__main__":
    unittest.main()
