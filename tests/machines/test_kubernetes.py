"""The manifests for Kubernetes: their schemas, their names, and a rollout with late endpoints."""

import contextlib
import copy
import re
import signal
import subprocess
import threading

import pytest
from harness import Wire, eventually, request
from harness.admin import parse
from harness.process import Server, free_port, run
from harness.requirements import require_module, require_program

from machines import manifests
from machines.customers import visiting
from machines.service import Service

KUBERNETES = "1.37"


@pytest.fixture(autouse=True)
def packages():
    require_module("kubernetes_validate")


def validate(document):
    import jsonschema
    import kubernetes_validate

    if document["kind"] == "ScaledObject":
        jsonschema.validate(document, manifests.SCALED_OBJECT)
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_every_manifest_has_its_schema():
    kinds = []
    for document in manifests.all_documents():
        validate(document)
        kinds.append(document["kind"])
    assert sorted(kinds) == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "ScaledObject",
        "Service",
    ]
    # What KEDA makes of the ScaledObject's behavior.
    autoscaler = copy.deepcopy(manifests.of_kind("HorizontalPodAutoscaler"))
    advanced = manifests.of_kind("ScaledObject")["spec"]["advanced"]
    autoscaler["spec"]["behavior"] = advanced["horizontalPodAutoscalerConfig"]["behavior"]
    validate(autoscaler)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replicas"), "three"),
        ("Deployment", ("spec", "template", "spec", "terminationGrace"), 50),
        ("HorizontalPodAutoscaler", ("spec", "maxReplicas"), None),
        ("PodDisruptionBudget", ("spec", "mostUnavailable"), 1),
        ("ScaledObject", ("spec", "minReplicas"), 1),
        ("ScaledObject", ("spec", "pollingInterval"), "15"),
    ],
)
def test_the_schemas_refuse(kind, path, value):
    document = copy.deepcopy(manifests.of_kind(kind))
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(Exception, match=path[-1]) as refused:
        validate(document)
    assert "Validation" in type(refused.value).__name__


def test_the_selectors_and_ports_meet():
    pod = manifests.of_kind("Deployment")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    names = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
    service = manifests.of_kind("Service")["spec"]
    assert service["selector"].items() <= labels.items()
    assert names[service["ports"][0]["targetPort"]] == 8000
    budget = manifests.of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert budget.items() <= labels.items()
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        assert manifests.of_kind(kind)["spec"]["scaleTargetRef"]["name"] == "shop"


def test_the_kubelet_kills_later_than_the_server_ends_by_itself():
    # Eight seconds are what killing takes: TimeoutStopSec of contrib/systemd counts the same.
    needed = manifests.seconds("--drain-delay") + manifests.seconds("--graceful-timeout") + 8
    assert manifests.pod()["terminationGracePeriodSeconds"] >= needed


def test_the_server_takes_the_flags_of_the_manifest():
    checked = run("ordering:app", *manifests.flags(), "--check-config", environment=ORDERS)
    assert checked.returncode == 0, checked.stderr


ORDERS = {"ORDERS": "/dev/null", "ORDERS_SLOW": "/nonexistent", "ORDERS_HOST": "pod"}


def test_the_autoscalers_ask_for_metrics_that_a_server_has(start, tmp_path):
    texts = [(manifests.FOLDER / name).read_text() for name in ("hpa.yaml", "scaledobject.yaml")]
    asked = set(re.findall(r"\blockgate_[a-z_]+", " ".join(texts)))
    assert asked == {"lockgate_busy_ratio", "lockgate_queue_duration_seconds_sum"}
    port = free_port()
    start("ordering:app", "--admin-bind", f"127.0.0.1:{port}", environment=ORDERS)
    # Through the sidecar, as Prometheus does.
    [configuration] = manifests.of_kind("ConfigMap")["data"].values()
    with nginx(tmp_path, configuration.replace("127.0.0.1:9000", f"127.0.0.1:{port}")) as sidecar:
        answer = fetched(sidecar, "/metrics")
        assert answer.status == 200
        names = {re.match("[a-z_]+", sample)[0] for sample in parse(answer.body.decode())}
        assert asked <= names
        for path in ("/status", "/stacks", "/metrics/../status", "/actions/reload", "/"):
            assert fetched(sidecar, path).status == 404, path


def fetched(address, target):
    with Wire(address) as wire:
        wire.send(request("GET", target, "Connection: close"))
        return wire.response()


@contextlib.contextmanager
def nginx(directory, configuration):
    program = require_program("nginx", package="nginx-light", directories=("/usr/sbin",))
    port = free_port()
    assert "listen 9001;" in configuration
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log stderr; worker_processes 1;\n"
        "events { worker_connections 64; }\n"
        f"http {{ access_log off; proxy_temp_path {directory}/temporary;\n"
        f"{configuration.replace('listen 9001;', f'listen 127.0.0.1:{port};')} }}\n"
    )
    process = subprocess.Popen([program, "-p", directory, "-c", "nginx.conf", "-e", "stderr"])
    try:
        eventually(lambda: listens(("127.0.0.1", port)), what="nginx listens")
        yield ("127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(10)


def listens(address):
    try:
        Wire(address).close()
    except OSError:
        return False
    return True


class Pod:
    """One server with the flags of the manifest, and what the kubelet does with it."""

    def __init__(self, directory, number, flags):
        self.port = free_port()
        orders = directory / f"orders{number}"
        self.orders = orders
        orders.touch()
        replaced = {"--bind": f"127.0.0.1:{self.port}", "--admin-bind": "none"}
        flags = [flag for flag in flags if flag.partition("=")[0] not in replaced]
        self.server = Server(
            directory,
            "ordering:app",
            *(f"{name}={value}" for name, value in replaced.items()),
            *flags,
            bind=[],
            workers=None,
            environment={**ORDERS, "ORDERS": str(orders), "ORDERS_HOST": f"pod{number}"},
        )
        self.address = ("127.0.0.1", self.port)
        probe = manifests.pod()["containers"][0]["readinessProbe"]["httpGet"]["path"]
        eventually(lambda: fetched(self.address, probe).status == 200, what="ready")
        self.grace = manifests.pod()["terminationGracePeriodSeconds"]

    def delete(self):
        """TERM, and KILL at the end of the grace period."""
        self.server.signal(signal.SIGTERM)
        assert self.server.wait(self.grace) == 0, self.server.errors


def rollout(directory, flags, *, lag, pods=2):
    """Replaces every pod as the Deployment says (maxSurge 1, maxUnavailable 0)."""
    service = Service(lag)
    running = [Pod(directory, number, flags) for number in range(pods)]
    ended = []
    try:
        for pod in running:
            service.add(pod.address)
        with visiting(service.address) as outcome:
            for number in range(pods):
                fresh = Pod(directory, pods + number, flags)
                running.append(fresh)
                service.add(fresh.address)
                old = running[number]
                service.remove(old.address)
                ended.append(threading.Thread(target=old.delete))
                ended[-1].start()
            for thread in ended:
                thread.join()
            eventually(lambda: len(service.endpoints) == pods, what="the endpoints are removed")
        executed = [order for pod in running for order in pod.orders.read_text().split()]
    finally:
        service.close()
        for pod in running:
            pod.server.end()
    return outcome, executed


@pytest.mark.slow
def test_no_request_fails_in_a_rollout_whose_endpoints_are_removed_late(tmp_path):
    # Later than in most clusters, and earlier than drain_delay.
    lag = manifests.seconds("--drain-delay") / 2
    outcome, executed = rollout(tmp_path, manifests.flags(), lag=lag)
    assert outcome.failures == {}
    assert sorted(executed) == sorted(outcome.placed)
    assert len(outcome.hosts) == 4


@pytest.mark.slow
def test_requests_fail_in_the_same_rollout_without_the_delay(tmp_path):
    lag = manifests.seconds("--drain-delay") / 2
    outcome, _ = rollout(tmp_path, manifests.flags(drain_delay="0s"), lag=lag)
    assert outcome.failures
