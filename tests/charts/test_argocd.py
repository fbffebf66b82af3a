"""docs/argocd/health.lua, in the Lua that Argo CD has (5.1)."""

import pytest
from lupa import lua51

from conftest import ROOT

SCRIPT = (ROOT / "docs" / "argocd" / "health.lua").read_text()


def health(conditions, generation=1, observed=1, deleting=False, status=True):
    """Status and message for a Table with these conditions: {type: (holds, reason, message)}."""
    table = {"metadata": {"name": "orders", "generation": generation}}
    if deleting:
        table["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if status:
        table["status"] = {"observedGeneration": observed, "conditions": [
            {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}
            for kind, (holds, reason, message) in conditions.items()]}
    lua = lua51.LuaRuntime()
    lua.globals().obj = lua.table_from(table, recursive=True)
    result = lua.execute(SCRIPT)
    return result["status"], result["message"]


WELL = {"Ready": (True, "Ready", "4 of 4 partitions are ready"), "Reconciling": (False, "Settled", ""), "Stalled": (False, "NotStalled", "")}


@pytest.mark.parametrize("changed, expected", [
    ({}, ("Healthy", "4 of 4 partitions are ready")),
    ({"Reconciling": (True, "BuildingIndex", "building the index a")}, ("Progressing", "building the index a")),
    ({"Ready": (False, "PartitionsUnavailable", "3 of 4"), "Reconciling": (True, "PartitionsUnavailable", "waiting")}, ("Progressing", "waiting")),
    ({"Ready": (False, "PartitionsUnavailable", "3 of 4")}, ("Degraded", "3 of 4")),
    ({"Stalled": (True, "InvalidSpec", "spec.replicas: 3")}, ("Degraded", "InvalidSpec: spec.replicas: 3")),
    ({"Stalled": (True, "Paused", "spec.paused")}, ("Suspended", "Paused: spec.paused")),
])
def test_conditions(changed, expected):
    assert health(WELL | changed) == expected


def test_what_is_not_known_yet_is_under_way():
    assert health({}, status=False) == ("Progressing", "waiting for the operator")
    assert health({}) == ("Progressing", "waiting for the operator")
    assert health(WELL, generation=2) == ("Progressing", "waiting for the operator")


def test_deletion():
    assert health(WELL, deleting=True) == ("Progressing", "being deleted")
    held = WELL | {"Stalled": (True, "DeletionProtected", "set it to false")}
    assert health(held, deleting=True) == ("Degraded", "DeletionProtected: set it to false")
