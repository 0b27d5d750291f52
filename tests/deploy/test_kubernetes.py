"""deploy/kubernetes: what Kubernetes would be given keeps to the rules of deploy/README.md."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
BASES = ("coordinator", "institution", "institution-apart", "join")
OVERLAYS = tuple(f"overlays/{p.name}" for p in sorted((FOLDER / "overlays").iterdir()))
DATA = {"site", "data", "witness"}

Document = dict[str, Any]


def built(name: str) -> list[Document]:
    """What is applied; without kubectl the files of a base as they are."""
    if shutil.which("kubectl") is None:
        if name not in BASES:
            pytest.skip("kubectl is not installed")
        texts = [p.read_text() for p in (FOLDER / name).glob("*.yaml") if p.name != "kustomization.yaml"]
        return [d for text in texts for d in yaml.safe_load_all(text)]
    done = subprocess.run(["kubectl", "kustomize", FOLDER / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [d for d in documents if d["kind"] in kinds]


def pods(documents: list[Document]) -> list[Document]:
    found = [d["spec"]["template"] for d in of_kind(documents, "StatefulSet", "Job")]
    assert found
    return found


def containers(pod: Document) -> list[Document]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def all_containers(documents: list[Document]) -> dict[str, Document]:
    return {c["name"]: c for pod in pods(documents) for c in containers(pod)}


def user(pod: Document, container: Document) -> int:
    return container["securityContext"].get("runAsUser", pod["spec"]["securityContext"].get("runAsUser", 0))


def mounts(container: Document) -> dict[str, bool]:
    """The volumes that a container has, and whether it may write them."""
    return {m["name"]: not m.get("readOnly", False) for m in container["volumeMounts"]}


def policies(documents: list[Document], pod: Document) -> list[Document]:
    """The network policies that select a Pod."""
    labels = pod["metadata"]["labels"].items()
    return [
        p["spec"]
        for p in of_kind(documents, "NetworkPolicy")
        if p["spec"]["podSelector"]["matchLabels"].items() <= labels
    ]


def way_out(documents: list[Document], pod: Document) -> list[Document]:
    """All that the Pod may connect to; every policy that selects it adds to the others."""
    selecting = [p for p in policies(documents, pod) if "Egress" in p["policyTypes"]]
    assert selecting, "nothing limits what it may connect to"
    return [rule for p in selecting for rule in p.get("egress", [])]


def way_in(documents: list[Document], pod: Document) -> list[Document]:
    selecting = [p for p in policies(documents, pod) if "Ingress" in p["policyTypes"]]
    assert selecting, "nothing limits who may connect to it"
    return [rule for p in selecting for rule in p.get("ingress", [])]


@pytest.mark.parametrize("name", BASES + OVERLAYS)
def test_pods_may_run_where_pod_security_is_restricted(name: str) -> None:
    for pod in pods(built(name)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert not spec.get("shareProcessNamespace", False)
        kinds = {k for v in spec["volumes"] for k in v if k != "name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "secret"}
        for container in containers(pod):
            guard = container["securityContext"]
            assert user(pod, container) > 10000
            assert guard["readOnlyRootFilesystem"] is True
            assert guard["allowPrivilegeEscalation"] is False
            assert guard["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert not {"env", "envFrom"} & set(container)  # no secret by that way, and nothing else is needed


@pytest.mark.parametrize("name", OVERLAYS)
def test_images_have_tags(name: str) -> None:
    for container in all_containers(built(name)).values():
        _, _, tag = container["image"].rpartition(":")
        assert tag.startswith("0.")


@pytest.mark.parametrize("name", [n for n in BASES + OVERLAYS if "institution" in n])
def test_the_custodian_has_the_table_and_the_relay_has_none(name: str) -> None:
    found, documents = all_containers(built(name)), built(name)
    custodian, relay = found["custodian"], found["relay"]
    assert mounts(custodian)["data"] is False
    assert set(mounts(custodian)) & {"relay"} == set()
    assert set(mounts(relay)) & DATA == set()
    assert mounts(relay)["socket"] is False
    assert len({user(pod, c) for pod in pods(documents) for c in containers(pod)}) == 2
    assert [d for d in of_kind(documents, "Service", "Ingress") if "selector" in d["spec"]] == []
    assert all(d["spec"]["replicas"] == 1 for d in of_kind(documents, "StatefulSet"))


@pytest.mark.parametrize("name", [n for n in BASES + OVERLAYS if "institution" in n])
def test_only_the_relays_pod_speaks_and_to_the_coordinator_alone(name: str) -> None:
    documents = built(name)
    for pod in pods(documents):
        out = way_out(documents, pod)
        if "relay" in [c["name"] for c in containers(pod)]:
            assert {p["port"] for rule in out for p in rule["ports"]} == {8443, 53}
        else:
            assert out == []


@pytest.mark.parametrize("name", [n for n in BASES + OVERLAYS if "institution" in n])
def test_nobody_asks_an_institution_but_its_own_monitoring(name: str) -> None:
    documents = built(name)
    for pod in pods(documents):
        for rule in way_in(documents, pod):
            assert name.startswith("overlays")
            assert [p["port"] for p in rule["ports"]] == [9465]
            assert rule["from"] == [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
            ]
            assert "--metrics-anywhere" in all_containers(documents)["custodian"]["args"]


@pytest.mark.parametrize("name", ["institution-apart", "overlays/institution-apart"])
def test_apart_the_relay_is_on_the_custodians_node_and_they_share_the_socket_alone(name: str) -> None:
    documents = built(name)
    claims = [
        {v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v}
        for pod in pods(documents)
    ]
    assert len(claims) == 2
    assert claims[0] & claims[1] == {"cohortium-socket"}
    relay = next(p for p in pods(documents) if "affinity" in p["spec"])
    (near,) = relay["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    custodian = next(p for p in pods(documents) if "affinity" not in p["spec"])
    assert near["labelSelector"]["matchLabels"].items() <= custodian["metadata"]["labels"].items()
    assert near["topologyKey"] == "kubernetes.io/hostname"


@pytest.mark.parametrize("name", ["coordinator", "overlays/coordinator"])
def test_the_coordinator_exposes_the_fleets_port_and_connects_to_nobody(name: str) -> None:
    documents = built(name)
    (pod,), (service,) = pods(documents), of_kind(documents, "Service")
    assert [p["port"] for p in service["spec"]["ports"]] == [8443]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert way_out(documents, pod) == []
    everybody = [p["port"] for rule in way_in(documents, pod) if "from" not in rule for p in rule["ports"]]
    assert everybody == ["fleet"]


@pytest.mark.parametrize("name", BASES + OVERLAYS)
def test_no_secret_is_part_of_the_files(name: str) -> None:
    assert of_kind(built(name), "Secret", "ConfigMap") == []


def test_a_gpu_is_given_to_the_custodian_alone() -> None:
    found = all_containers(built("overlays/institution-gpu"))
    assert found["custodian"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert found["custodian"]["image"].endswith("-cuda")
    assert "nvidia.com/gpu" not in found["relay"]["resources"]["limits"]


def test_a_custodian_with_a_database_reaches_that_and_the_dns_and_nobody_else() -> None:
    """The name of the database's host is looked up, for which the policy of a Pod without network has no room."""
    files = FOLDER / "components/database"
    (policy,) = yaml.safe_load_all((files / "networkpolicy.yaml").read_text())
    assert policy["spec"]["podSelector"]["matchLabels"] == {"cohortium/holds": "data"}
    assert policy["spec"]["policyTypes"] == ["Egress"]
    database, names = policy["spec"]["egress"]
    assert [p["port"] for p in database["ports"]] == [5432]
    assert [to["ipBlock"]["cidr"] for to in database["to"]] == ["192.0.2.10/32"]
    assert {(p["protocol"], p["port"]) for p in names["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert names["to"][0]["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_database_is_added_by_an_overlay(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "k")
    overlay = tmp_path / "k/overlays/institution-apart/kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("  - ../../components/metrics\n", "  - ../../components/database\n"))
    done = subprocess.run(["kubectl", "kustomize", overlay.parent], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    named = {p["metadata"]["name"] for p in of_kind(list(yaml.safe_load_all(done.stdout)), "NetworkPolicy")}
    assert "cohortium-database" in named


def test_where_a_cluster_has_ipv6_everybody_is_served_over_it() -> None:
    (service,) = of_kind(built("coordinator"), "Service")
    assert service["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    kept = [p for p in FOLDER.rglob("*") if p.is_file() and "0.0.0.0" in p.read_text()]  # noqa: S104
    assert kept == []
