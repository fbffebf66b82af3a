"""What an apply of a Table will do to the cluster is said before it is done."""

import json

from harness.manifests import table
from harness.waiting import wait_for


def units(write):
    return dict(billingMode="PROVISIONED", provisionedThroughput={"readCapacityUnits": 1, "writeCapacityUnits": write})


def said(place, manifest, *how):
    """What kubectl prints beside the result of an apply."""
    done = place.kubectl.attempt("apply", *how, "-f", "-", stdin=json.dumps(manifest))
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_an_apply_says_what_it_will_do(place):
    place.ready(table("planned", **units(10)))
    larger = table("planned", **units(900))

    def warned():
        words = said(place, larger, "--dry-run=server")
        assert "Warning: planned: write units 10 → 900: " in words and " CPU" in words, words
        return True

    # The operator may have made the certificates only a moment ago.
    wait_for("a warning", warned, 60)
    assert place.kubectl.get("table", "planned")["spec"]["provisionedThroughput"]["writeCapacityUnits"] == 10
    # A new table is told what it will occupy, and what the operator will refuse is said with its field.
    assert "Warning: new: 1 partition" in said(place, table("new", **units(10)), "--dry-run=server")
    rekeyed = table("planned", hash_key="other", **units(10))
    refused = place.kubectl.attempt("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(rekeyed))
    assert "keySchema" in refused.stderr, refused.stderr
    # What changes nothing is not spoken of; a plain apply is told the same as a dry run.
    assert "Warning" not in said(place, table("planned", **units(10)))
    assert "Warning: planned: write units 10 → 900: " in said(place, larger)
    place.ready(larger)
