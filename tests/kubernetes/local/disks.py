"""The disks of a cluster: `disks FOLDER`, inside its hub network. It plays what a storage driver does.

1. A claim that the scheduler has placed gets a `local` PersistentVolume on that node. Such a volume is bound to its
   node, is lost with it, and honours fsGroup, so that pods under `restricted` can write to it. (The hostpath volumes of
   the controller manager do nothing of this.)
2. A claim that asks for more gets it: volume and claim say the new size.
3. A volume whose claim is gone is removed with its data.
"""

import pathlib
import shutil
import sys
import time

from local import api, control

POLL_SECONDS = 0.5
CLASS = "local"
MERGE = "application/merge-patch+json"


def main(folder):
    server = api.Api(control.HUB, folder / "pki/serving/apiserver.crt", "disks")
    while True:
        try:
            look(server, folder)
        except (OSError, api.Refused) as error:
            # The API server may be away, or the object may have changed meanwhile: the next look sees what is.
            print(f"disks: {error}", flush=True)
        time.sleep(POLL_SECONDS)


def look(server, folder):
    for claim in server.items("/api/v1/persistentvolumeclaims"):
        if claim["spec"].get("storageClassName") != CLASS:
            continue
        node = claim["metadata"].get("annotations", {}).get("volume.kubernetes.io/selected-node")
        phase = claim["status"].get("phase")
        if phase == "Pending" and node and not claim["spec"].get("volumeName"):
            create(server, folder, claim, node)
        elif phase == "Bound" and claim["status"].get("capacity") != claim["spec"]["resources"]["requests"]:
            grow(server, claim)
    for volume in server.items("/api/v1/persistentvolumes"):
        if volume["spec"].get("storageClassName") == CLASS and volume["status"].get("phase") == "Released":
            server.call("DELETE", f"/api/v1/persistentvolumes/{volume['metadata']['name']}")
            shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)


def create(server, folder, claim, node):
    meta, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{meta['uid']}"
    path = folder / node / "volumes" / name
    path.mkdir(parents=True, exist_ok=True)
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    try:
        server.call("POST", "/api/v1/persistentvolumes", {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": spec["resources"]["requests"], "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": CLASS, "local": {"path": str(path)},
                "claimRef": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}}}})
    except api.Refused as refused:
        if refused.status != 409:   # made by the look before, and not yet bound
            raise


def grow(server, claim):
    meta, wanted = claim["metadata"], claim["spec"]["resources"]["requests"]
    server.call("PATCH", f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}",
                {"spec": {"capacity": wanted}}, MERGE)
    server.call("PATCH", f"/api/v1/namespaces/{meta['namespace']}/persistentvolumeclaims/{meta['name']}/status",
                {"status": {"capacity": wanted}}, MERGE)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
