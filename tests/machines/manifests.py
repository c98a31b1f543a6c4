"""The manifests of contrib/kubernetes, as the tests read them."""

from __future__ import annotations

from typing import Any

from harness.fronts import CONTRIB

FOLDER = CONTRIB / "kubernetes"

#: The fields of a ScaledObject that the manifest may use, from the documentation of KEDA 2.
#: No package has the schema of this kind.
_POSITIVE = {"type": "integer", "minimum": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object that has no other fields."""
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


SCALED_OBJECT = _closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata=_closed(["name"], name={"type": "string"}, labels=_TEXTS),
    spec=_closed(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=_closed(["name"], name={"type": "string"}, kind={"type": "string"}),
        pollingInterval=_POSITIVE,
        cooldownPeriod=_POSITIVE,
        minReplicaCount={"type": "integer", "minimum": 0},
        maxReplicaCount=_POSITIVE,
        fallback=_closed(
            ["failureThreshold", "replicas"], failureThreshold=_POSITIVE, replicas=_POSITIVE
        ),
        advanced=_closed(
            ["horizontalPodAutoscalerConfig"],
            # Its `behavior` is that of an autoscaler, and is checked as such.
            horizontalPodAutoscalerConfig=_closed(["behavior"], behavior={"type": "object"}),
        ),
        triggers={
            "type": "array",
            "minItems": 1,
            "items": _closed(
                ["type", "metadata"],
                type={"const": "prometheus"},
                name={"type": "string"},
                metricType={"enum": ["AverageValue", "Value"]},
                metadata={
                    **_closed(
                        ["serverAddress", "query", "threshold"],
                        serverAddress={"type": "string", "pattern": "^https?://"},
                        query={"type": "string"},
                        # Every value of the metadata is text in KEDA, numbers too.
                        threshold={"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
                        activationThreshold={"type": "string"},
                    )
                },
            ),
        },
    ),
)


def documents(name: str) -> list[dict[str, Any]]:
    import yaml

    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def all_documents() -> list[dict[str, Any]]:
    return [found for path in sorted(FOLDER.glob("*.yaml")) for found in documents(path.name)]


def of_kind(kind: str) -> dict[str, Any]:
    [found] = [document for document in all_documents() if document["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = of_kind("Deployment")["spec"]["template"]["spec"]
    return found


def flags(**changes: str) -> list[str]:
    """The flags of the container, behind the application; `changes` replace values by name."""
    found = dict(flag.split("=", 1) for flag in pod()["containers"][0]["args"][2:])
    for name, value in changes.items():
        flag = "--" + name.replace("_", "-")
        assert flag in found, flag
        found[flag] = value
    return [f"{flag}={value}" for flag, value in found.items()]


def seconds(flag: str) -> float:
    value = dict(entry.split("=", 1) for entry in flags())[flag]
    assert value.endswith("s")
    return float(value[:-1])
