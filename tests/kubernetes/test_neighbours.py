"""A table far beyond its units is throttled, with its limit in the answer, and its neighbour does not notice. How long calls take is
printed by `make bench-cluster`."""

import time

from harness.manifests import table
from harness.waiting import wait_for

# Of the loud table, and what it may save up.
UNITS, BURST_SECONDS = 5, 300
# An item of eight units.
TEXT_BYTES, ITEM_UNITS = 7_900, 8
WRITERS = 4
THROTTLED = "ProvisionedThroughputExceededException"


def provisioned(name, write):
    return table(name, billingMode="PROVISIONED",
                 provisionedThroughput={"readCapacityUnits": 1000, "writeCapacityUnits": write})


def test_a_throttled_table_gets_its_units_and_its_neighbour_is_not_felt(place):
    place.ready(provisioned("loud", UNITS), provisioned("calm", 1000))
    sdk = place.sdk()
    calm = sdk.check("calm", repeats=True)
    began = time.monotonic()
    # A hundred times the units, by a client that does not repeat what is refused.
    loud = sdk.check("loud", writers=WRITERS, per_second=60, text_bytes=TEXT_BYTES)

    def throttled():
        status = loud.status()
        assert status["errors"].get(f"put_item: {THROTTLED}", 0) > 200, status
        return status
    wait_for("throttled writes", throttled, 120)
    calm.progress(more=100)
    # Nothing but throttles has failed, and what was admitted is the burst and what has come in since: a write is admitted as long as
    # anything is left, so each writer may owe an item.
    status = loud.status()
    assert set(status["errors"]) == {f"put_item: {THROTTLED}"}, status
    admitted = status["acknowledged"] * ITEM_UNITS
    elapsed = time.monotonic() - began
    assert UNITS * BURST_SECONDS <= admitted <= UNITS * (BURST_SECONDS + elapsed + 1) + WRITERS * ITEM_UNITS, (admitted, elapsed)
    loud.finish()
    report = calm.finish()
    assert report["failed"] == 0, report
