"""The conformance suite in a pod, through the routers' Service: a cluster is the same DynamoDB as one process is."""

from harness import sdk
from harness.waiting import wait_for

# Nothing is written to its file system, which is read-only.
SUITE = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys", "/conformance"]
# It makes some 40 tables, one after the other for the most part: that is what takes its time.
SUITE_SECONDS_MAX = 900


def test_the_suite_passes(place):
    session, kubectl = place.session, place.kubectl
    place.sdk()   # when it has an answer, routers know the key
    settings = sdk.settings(session, *place.key())
    suite = sdk.pod("suite", session.client_image, {**settings, "PARTITA_ENDPOINT": session.endpoint})
    suite["spec"]["restartPolicy"] = "Never"
    [container] = suite["spec"]["containers"]
    container["command"] = ["/python/bin/python3", *SUITE]
    del container["readinessProbe"]
    kubectl.apply(suite)

    def ended():
        phase = kubectl.get("pod", "suite")["status"]["phase"]
        assert phase in ("Succeeded", "Failed"), f"{phase}: {kubectl.attempt('logs', 'suite', '--tail=3').stdout}"
        return phase
    phase = wait_for("the end of the suite", ended, SUITE_SECONDS_MAX)
    report = kubectl("logs", "suite")
    assert phase == "Succeeded", report
    assert " passed in " in report, report
