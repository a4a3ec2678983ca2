"""The Helm chart: what it makes of the values in its folder `ci`, and which values it refuses."""

import os
import unittest
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

from support import BINARY, CHART, DEPLOY, SECRET, known_settings, refused, run, version

# The oldest Kubernetes that Chart.yaml admits, and the newest whose schemas there are.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
VALUES = sorted(path.name for path in CHART.glob("ci/*.yaml"))
# Kinds that are not of Kubernetes itself, and where their schemas are.
CUSTOM = {
    "HTTPRoute": ("GATEWAY_API", "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"),
    "PrometheusRule": ("PROMETHEUS_OPERATOR", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    "ServiceMonitor": ("PROMETHEUS_OPERATOR", "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
}


@cache
def rendered(values: str, kube_version: str = VERSIONS[0]) -> list[dict]:
    command = ["helm", "template", "shop", CHART, "--kube-version", kube_version, "--values", CHART / "ci" / values]
    return [document for document in yaml.safe_load_all(run(*command)) if document]


def of_kind(kind: str, values: str) -> list[dict]:
    return [document for document in rendered(values) if document["kind"] == kind]


def only(kind: str, values: str) -> dict:
    (document,) = of_kind(kind, values)
    return document


def pods(values: str) -> list[dict]:
    return [each["spec"]["template"]["spec"] for kind in ("Deployment", "Job") for each in of_kind(kind, values)]


def containers(values: str) -> list[dict]:
    return [each for pod in pods(values) for each in pod.get("initContainers", []) + pod["containers"]]


def closed(schema: dict) -> dict:
    """The schema of a custom resource, which then refuses fields that it does not name."""
    schema = {key: closed(value) if isinstance(value, dict) else value for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


def check_custom(document: dict) -> None:
    source, path = CUSTOM[document["kind"]]
    # Go lets a flag stand behind the beginning of an expression, Python does not.
    definition = yaml.safe_load(Path(os.environ[source], path).read_text().replace("^(?i)", "(?i)^"))
    served = document["apiVersion"].split("/")[1]
    (schema,) = [each["schema"]["openAPIV3Schema"] for each in definition["spec"]["versions"] if each["name"] == served]
    properties = {**schema["properties"], "metadata": {}}
    jsonschema.validate(document, closed({**schema, "properties": properties}))


class Chart(unittest.TestCase):
    def test_helm_lints_it(self):
        for values in VALUES:
            with self.subTest(values):
                run("helm", "lint", "--strict", "--kube-version", VERSIONS[0], CHART, "--values", CHART / "ci" / values)

    def test_kubernetes_knows_every_field(self):
        for values in VALUES:
            for kube_version in VERSIONS:
                for document in rendered(values, kube_version):
                    with self.subTest(values=values, kube_version=kube_version, kind=document["kind"]):
                        if document["kind"] in CUSTOM:
                            check_custom(document)
                        else:
                            kubernetes_validate.validate(document, kube_version, strict=True)

    def test_it_is_of_the_version_of_the_hub(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (version(), version()))

    def test_the_hub_accepts_the_settings_of_every_container(self):
        """What the Secret would hold is added; a name that the hub does not know would have no effect, so it fails."""
        secrets = {"JWT_SECRET": SECRET, "DATABASE_URL": "postgres://orderhub:secret@db.example.com/orderhub"}
        for values in VALUES:
            for container in containers(values):
                with self.subTest(values=values, container=container["name"]):
                    settings = {each["name"]: each.get("value", secrets.get(each["name"])) for each in container["env"]}
                    self.assertEqual(set(settings) - known_settings(), set())
                    # The file of keys is the user's.
                    settings.pop("JWT_PUBLIC_KEY", None)
                    run(BINARY, "check-config", env={**settings, "JWT_SECRET": SECRET})

    def test_no_container_may_do_more_than_it_needs(self):
        for values in VALUES:
            for pod in pods(values):
                context = pod["securityContext"]
                self.assertTrue(context["runAsNonRoot"])
                self.assertEqual((context["runAsUser"], context["fsGroup"]), (10001, 10001))
                self.assertIn(context["seccompProfile"]["type"], ("RuntimeDefault", "Localhost"))
                self.assertFalse(pod["automountServiceAccountToken"])
            for container in containers(values):
                self.assertEqual(container["securityContext"], {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                })

    def test_a_stop_has_the_time_that_the_drain_takes(self):
        for values, sleep, drain in (("sqlite-values.yaml", 0, 5), ("postgres-ingress-values.yaml", 3, 20)):
            (pod,) = [each["spec"]["template"]["spec"] for each in of_kind("Deployment", values)]
            self.assertEqual(pod["terminationGracePeriodSeconds"], sleep + drain + 5)
            (hub,) = pod["containers"]
            self.assertIn({"name": "DRAIN_SECS", "value": str(drain)}, hub["env"])
            self.assertEqual(hub.get("lifecycle"), {"preStop": {"sleep": {"seconds": sleep}}} if sleep else None)

    def test_a_file_of_sqlite_has_one_pod_at_a_time_and_outlives_the_release(self):
        values = "sqlite-values.yaml"
        self.assertEqual({each["kind"] for each in rendered(values)}, {"Deployment", "PersistentVolumeClaim", "Service"})
        deployment = only("Deployment", values)["spec"]
        self.assertEqual((deployment["replicas"], deployment["strategy"]), (1, {"type": "Recreate"}))
        claim = only("PersistentVolumeClaim", values)
        self.assertEqual(claim["metadata"]["annotations"], {"helm.sh/resource-policy": "keep"})
        self.assertIn(
            {"name": "data", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}},
            deployment["template"]["spec"]["volumes"],
        )

    def test_the_tables_of_postgresql_are_brought_up_to_date_before_the_pod_is_replaced(self):
        values = "postgres-ingress-values.yaml"
        job = only("Job", values)
        self.assertEqual(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade")
        pod = job["spec"]["template"]["spec"]
        steps = pod["initContainers"] + pod["containers"]
        self.assertEqual([step["args"] for step in steps], [["check-config"], ["migrate"]])
        (hub,) = only("Deployment", values)["spec"]["template"]["spec"]["containers"]
        for step in steps:
            self.assertEqual((step["image"], step["env"]), (hub["image"], hub["env"]))
        self.assertIn({"name": "AUTO_MIGRATE", "value": "false"}, hub["env"])
        # The pods of the job must not get the traffic of the Service.
        self.assertNotEqual(
            job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"],
            of_kind("Service", values)[0]["spec"]["selector"]["app.kubernetes.io/name"],
        )

    def test_what_is_public_leads_to_the_public_port_and_admin_to_its_own(self):
        for values in VALUES:
            for ingress in of_kind("Ingress", values):
                admin = ingress["metadata"]["name"].endswith("-admin")
                for rule in ingress["spec"]["rules"]:
                    for path in rule["http"]["paths"]:
                        self.assertEqual(path["backend"]["service"]["port"]["name"], "admin" if admin else "http")
                        self.assertEqual(path["path"].startswith("/admin"), admin)
            for route in of_kind("HTTPRoute", values):
                admin = route["metadata"]["name"].endswith("-admin")
                for rule in route["spec"]["rules"]:
                    self.assertEqual([to["port"] for to in rule["backendRefs"]], [9090 if admin else 80])
                    self.assertEqual({match["path"]["value"] == "/admin" for match in rule["matches"]}, {admin})

    def test_alerts_and_dashboards_are_those_of_the_repository(self):
        values = "postgres-ingress-values.yaml"
        alerts = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
        self.assertEqual(only("PrometheusRule", values)["spec"], alerts)
        files = {path.name: path.read_text() for path in (DEPLOY / "grafana" / "dashboards").iterdir()}
        self.assertEqual(only("ConfigMap", values)["data"], files)

    def test_the_schema_refuses_what_does_not_run(self):
        for what, values in {
            "no Secret": ["secretName="],
            "two hubs on one database": ["replicas=2"],
            "another database": ["database.kind=mysql"],
            "a value that is none": ["replicaCount=1"],
            "a secret among the settings": ["settings.JWT_SECRET=" + SECRET],
            "a setting that the chart makes": ["settings.BIND_ADDR=0.0.0.0:80"],
            "a setting that is none": ["settings.maxConnections=5"],
            "a profile without a name": ["seccompProfile.type=Localhost"],
            "no profile": ["seccompProfile.type=Unconfined"],
            "an ingress without a host": ["ingress.public.enabled=true"],
            "a route without a gateway": ["httpRoute.public.enabled=true", "httpRoute.public.hosts={hub.example.com}"],
            "a digest that is none": ["image.digest=latest"],
            "a drain without an end": ["drain.secs=-1"],
        }.items():
            with self.subTest(what):
                options = [part for value in values for part in ("--set", value)]
                said = refused("helm", "template", CHART, "--kube-version", "1.30", "--set", "secretName=hub", *options)
                self.assertIn("values don't meet the specifications of the schema", said)


if __name__ == "__main__":
    unittest.main()
