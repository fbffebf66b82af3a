"""examples/sidecar.yaml: an application on localhost, with a router in its own pod."""

import yaml

from harness.manifests import example
from harness.sdk import Sdk
from harness.session import ROOT
from harness.waiting import wait_for


def deployment(session):
    """The example, with the release and the images of this cluster, and the tests' client as the application."""
    manifest = yaml.safe_load((ROOT / "examples/sidecar.yaml").read_text())
    pod = manifest["spec"]["template"]["spec"]
    [router], [application] = pod["initContainers"], pod["containers"]
    assert router["restartPolicy"] == "Always" and "--directory=https://partita-routers.partita.svc:8002" in router["args"]
    router["image"] = session.image
    router["args"] = [argument.replace("partita-routers.partita.svc", f"{session.fullname}-routers.{session.namespace}.svc")
                      for argument in router["args"]]
    application["image"] = session.client_image
    for part in ("command", "args"):
        del application[part]
    application["readinessProbe"] = {"httpGet": {"path": "/healthz", "port": 9000}, "periodSeconds": 1}
    return manifest


def test_an_application_talks_to_its_own_pod(place):
    session, kubectl = place.session, place.kubectl
    place.ready(example("sessions"))
    kubectl.apply(deployment(session))
    kubectl.ready("deployment", "application", condition="Available", seconds=180)
    [name] = kubectl.names("pods", "app=application")
    pod = kubectl.get("pod", name)
    # Neither a disk of its own nor a right, not even a token: only its namespace's certificate.
    assert not pod["spec"]["automountServiceAccountToken"]
    assert [set(volume) - {"name"} for volume in pod["spec"]["volumes"]] == [{"emptyDir"}, {"secret"}]
    assert [mount["name"] for mount in pod["spec"]["initContainers"][0]["volumeMounts"]] == ["tls"]
    application = Sdk(session, kubectl, name)
    assert application("list_tables")["TableNames"] == ["sessions"]
    checker = application.check("sessions")
    # Another client, through the routers, sees the same items.
    sdk = place.sdk()
    application("put_item", TableName="sessions", Item={"sessionId": {"S": "of-the-sidecar"}})
    assert "Item" in sdk("get_item", TableName="sessions", Key={"sessionId": {"S": "of-the-sidecar"}}, ConsistentRead=True)
    # A table that comes later is found, too; and none is made here.
    place.ready(example("threads"))
    wait_for("the new table", lambda: "threads" in application("list_tables")["TableNames"])
    refused = application.refused("create_table", TableName="another", BillingMode="PAY_PER_REQUEST",
                                  KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                                  AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
    assert "another" not in sdk("list_tables")["TableNames"], refused
    checker.progress()
    assert checker.finish()["failed"] == 0
