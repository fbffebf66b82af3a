"""A partition that somebody cuts in two with `partita admin split` is taken up by the operator like one that it has split itself: the
half moves to storage nodes of its own, and is merged again once there are more partitions than are asked for."""

import pytest

from harness.admin import Admin
from harness.manifests import table
from test_growth import GROWN_SECONDS, MERGED_SECONDS, finished, partitions, reasons, settled
from test_replicas import whole

MEASURE = "--set=tables.partitions.measureEverySeconds=3"


@pytest.mark.own_cluster
@pytest.mark.long
def test_a_split_by_hand_is_taken_up_and_merged_again(cluster, place, tmp_path):
    kubectl = place.kubectl
    cluster.install(MEASURE)
    try:
        place.ready(table("cut", replicas=3))
        whole(kubectl, name="cut")
        checker = place.sdk().check("cut", repeats=True)
        checker.progress(more=200)
        [only] = partitions(kubectl)
        order = "3a1c5c9e-4f0e-4f6e-9d5b-0c8a6f3f7d11"
        admin = Admin(place, tmp_path)
        told = admin("split", only["spec"]["group"], "--id", order)
        # Whoever is not certain whether it was carried out repeats it.
        assert only["spec"]["group"] in told and admin("split", only["spec"]["group"], "--id", order)
        settled(kubectl, "cut", [2], 3, GROWN_SECONDS)
        assert partitions(kubectl)[1]["spec"]["start"], "cut where half of the bytes are on either side"
        checker.progress()
        cluster.install(MEASURE, "--set=tables.partitions.mergeAfterSeconds=5")
        settled(kubectl, "cut", [1], 3, MERGED_SECONDS)
        assert any(reason.startswith("Merge: ") for reason in reasons(kubectl, "cut"))
        checker.progress()
        finished(checker)
    finally:
        cluster.install()
