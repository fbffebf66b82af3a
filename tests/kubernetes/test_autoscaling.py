"""A table whose units follow its use, under a load that rises and falls like a sine: units rise and fall with it, within their range,
no call fails, and the manifest stays what it was."""

import json
import math
import time

import pytest

from harness.manifests import table

# A day in half an hour: units go down a quarter of an hour after the load has.
PERIOD_MINUTES, MINUTES_MAX = 30, 75
# Each checker writes items of four units, ten a second. The crest needs more than the range allows at the target.
WRITE_UNITS, PER_SECOND, TEXT_BYTES = 4, 10, 3_900
TROUGH, CREST = 1, 5
RANGE = {"min": 40, "max": 250, "targetUtilization": 70}
SAMPLE_SECONDS = 5


def following(name):
    """A Table whose write units have a range."""
    return table(name, billingMode="PROVISIONED", provisionedThroughput={"readCapacityUnits": 200}, autoscaling={"write": RANGE})


def level(minute):
    """How many checkers write in this minute."""
    middle, height = (CREST + TROUGH) / 2, (CREST - TROUGH) / 2
    return round(middle - height * math.cos(2 * math.pi * minute / PERIOD_MINUTES))


def nothing_to_apply(place, manifest):
    """`kubectl diff` finds the cluster as the manifest says."""
    done = place.kubectl.attempt("diff", "-f", "-", stdin=json.dumps(manifest))
    assert (done.returncode, done.stdout) == (0, ""), (done.stdout, done.stderr)


def units(place, name):
    """The write units that are in effect."""
    return place.kubectl.get("table", name)["status"]["effectiveThroughput"]["writeCapacityUnits"]


def steps(place, name):
    """What was decided about units, oldest first."""
    decided = place.kubectl.get("table", name)["status"].get("decisions", [])
    return [one["action"] for one in decided if one["action"].startswith("Scaled")]


def finished(checker):
    report = checker.finish()
    assert report["failed"] == 0, report


@pytest.mark.long
def test_units_follow_a_sine_of_load_within_their_range(place):
    manifest = following("tide")
    place.ready(manifest)
    sdk = place.sdk()
    checkers, seen, minute = [], [], 0
    # A whole period, and then until units have gone down again.
    while minute < PERIOD_MINUTES or "ScaledIn" not in steps(place, "tide"):
        assert minute < MINUTES_MAX, f"units have not gone down: {seen}, {steps(place, 'tide')}"
        while len(checkers) < level(minute):
            checkers.append(sdk.check("tide", name=f"tide-{minute}-{len(checkers)}", per_second=PER_SECOND, repeats=True,
                                      text_bytes=TEXT_BYTES))
        while len(checkers) > level(minute):
            finished(checkers.pop())
        # The load of this minute; the range holds and nothing is to be applied at every moment of it.
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            now = units(place, "tide")
            assert RANGE["min"] <= now <= RANGE["max"], now
            nothing_to_apply(place, manifest)
            seen.append(now)
            time.sleep(SAMPLE_SECONDS)
        minute += 1
    for checker in checkers:
        finished(checker)
    # The crest is more than the range allows, and the trough less than half of that.
    assert max(seen) == RANGE["max"], seen
    assert seen[0] == RANGE["min"] and seen[-1] < RANGE["max"], seen
    assert steps(place, "tide").count("ScaledOut") >= 2, steps(place, "tide")
    assert place.kubectl.get("table", "tide")["spec"]["autoscaling"]["write"] == RANGE
