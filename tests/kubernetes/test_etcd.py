"""etcd is put back to a copy from before a split. The cluster has forgotten a partition; the storage nodes have not, and what they have
is the truth: the operator makes of it what is missing, and nobody notices."""

import pytest

from harness.admin import Admin
from harness.waiting import wait_for
from test_by_hand import MEASURE
from test_growth import GROWN_SECONDS, partitions
from test_replicas import finished, three, whole


def index_groups(kubectl, count):
    """Waits until the index has so many partitions that hold every key; their groups in key order."""
    def there():
        found = [one for one in partitions(kubectl) if "indexName" in one["spec"]]
        assert len(found) == count, [one["metadata"]["name"] for one in found]
        ends = [one["spec"].get("end") for one in found]
        assert [None, *ends] == [*(one["spec"].get("start") for one in found), None]
        return [one["spec"]["group"] for one in found]
    return wait_for(f"{count} partitions of the index", there, GROWN_SECONDS)


@pytest.mark.own_cluster
@pytest.mark.long
def test_etcd_is_put_back_to_before_a_split(cluster, place, tmp_path):
    # Of an index, for what was split stays on its storage nodes: volumes that the API server has forgotten are lost to anybody.
    kubectl, own = place.kubectl, cluster.own
    cluster.install(MEASURE)
    try:
        place.ready(three("trio"))
        whole(kubectl)
        checker = place.sdk(endpoint=cluster.every_router).check("trio", repeats=True)
        checker.progress(more=200)
        [only] = index_groups(kubectl, 1)
        cluster.emptied()   # nobody's end shall be undone
        own.etcd_copy()
        kubectl("create", "configmap", "later")
        Admin(place, tmp_path)("split", only)
        groups = index_groups(kubectl, 2)
        whole(kubectl)
        checker.progress()

        own.etcd_put_back()
        assert kubectl.get("configmap", "later") is None
        for component in ("operator", "routers"):
            name = f"deployment/{cluster.fullname}-{component}"
            cluster.system("rollout", "restart", name)
            cluster.system("rollout", "status", name, "--timeout=120s")
        assert index_groups(kubectl, 2) == groups
        whole(kubectl)
        checker.progress(more=200)
        report = finished(checker)
        reader = place.sdk("reader")

        def all_there():
            found = reader("scan", TableName="trio", IndexName="byText", Select="COUNT")["Count"]
            assert found == report["items"], (found, report)
            return True
        wait_for("every item in the index", all_there)
    finally:
        cluster.install()
