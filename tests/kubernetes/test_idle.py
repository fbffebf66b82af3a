"""At rest nothing is written but Leases, also when the operator starts anew meanwhile."""

import json
import os
import time

import pytest

from harness.manifests import example, table
from harness.session import NAMESPACE, RELEASE

IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", "300"))
OURS = f"system:serviceaccount:{NAMESPACE}:"


@pytest.mark.own_cluster
def test_nothing_is_written_but_leases(place):
    session = place.session
    tables = [example("orders"), table("small")]
    place.ready(*tables)
    sdk = place.sdk()
    for name in ("orders", "small"):
        sdk.active(name)
    sdk("create_table", TableName="by-sdk", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
    sdk.active("by-sdk")
    checker = sdk.check("small")
    checker.progress(more=100)
    checker.finish()
    settle(session)

    began = position(session)
    versions = resource_versions(place)
    # The time that passes is what is tested: nothing is awaited in it but its end.
    halfway, end = time.monotonic() + IDLE_SECONDS / 2, time.monotonic() + IDLE_SECONDS
    time.sleep(max(0, halfway - time.monotonic()))
    restart_operator(session)
    time.sleep(max(0, end - time.monotonic()))

    written = writes(session, began)
    leases = [line for line in written if line["objectRef"]["resource"] == "leases"]
    others = [summary(line) for line in written if line not in leases]
    assert leases, "not even Leases: is this the right log?"
    assert others == [], others
    assert resource_versions(place) == versions
    # And what is there is what the manifests say.
    place.kubectl("diff", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": tables}))


def settle(session):
    """Waits until half a minute has passed without a write: counts of items are written when they have changed."""
    deadline = time.monotonic() + 600
    while True:
        began = position(session)
        time.sleep(30)
        left = [summary(line) for line in writes(session, began) if line["objectRef"]["resource"] != "leases"]
        if not left:
            return
        assert time.monotonic() < deadline, f"it does not come to rest: {left[-10:]}"


def restart_operator(session):
    """Both pods' containers are killed where they run: whoever wrote to the API for that would not be us."""
    pods = session.pods("operator")
    assert len(pods) == 2
    for pod in pods:
        session.own.kill_container(NAMESPACE, pod["metadata"]["name"], "operator")
    session.system("wait", "--for=condition=Available", f"deployment/{RELEASE}-operator", "--timeout=120s")


def position(session):
    return session.own.audit_log().stat().st_size


def writes(session, began):
    """What our identities have written since."""
    with open(session.own.audit_log(), "rb") as log:
        log.seek(began)
        lines = [json.loads(line) for line in log.read().splitlines() if line.endswith(b"}")]
    return [line for line in lines if line["user"]["username"].startswith(OURS)]


def summary(line):
    what = line["objectRef"]
    return f"{line['user']['username'].removeprefix(OURS)} {line['verb']} {what['resource']}" \
        f"{'/' + what['subresource'] if 'subresource' in what else ''} {what.get('name')}"


def resource_versions(place):
    """The version of everything of ours: a write that changes nothing leaves it, any other does not."""
    return {(kind, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
            for kind in ("tables", "partitions", "services", "pvc") for item in place.kubectl.items(kind)}
