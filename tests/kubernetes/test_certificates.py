"""Mutual TLS between operator, routers and storage nodes: who has no certificate is refused; what is deleted comes back; the
authority is replaced, and mutual TLS turned off and on, while a client writes and checks."""

import base64
import subprocess

import pytest

from harness.manifests import table
from harness.waiting import wait_for
from local.machine import inside
from test_operator_life import STORAGE, all_restarted
from test_replicas import partition, three, whole

AUTHORITY, REPLICAS, ROUTERS = "partita-authority", "partita-replica-tls", "partita-router-tls"
ADMIN, ADMIN_TLS = 8001, 8002
# How long a changed Secret may take to a pod: kubelets look once a minute.
SETTLE_SECONDS = 90


def data(kubectl, name):
    """What is in a Secret."""
    return {key: base64.b64decode(value).decode() for key, value in kubectl.get("secret", name)["data"].items()}


def served(session, address):
    """The certificate that a process shows on its port for calls; only from the cluster's own machine."""
    program = "import ssl, sys; sys.stdout.write(ssl.get_server_certificate((sys.argv[1], int(sys.argv[2])), timeout=10))"
    done = subprocess.run(inside(session.own.network, "python3", "-c", program, address, str(ADMIN_TLS)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def all_show_what_their_secret_holds(session, kubectl):
    """Waits until every storage node and every router has taken up its certificate."""
    def shown():
        for reader, pods, secret in ((kubectl, kubectl.items("pods", STORAGE), REPLICAS), (session.system, session.pods("router"), ROUTERS)):
            certificate = data(reader, secret)["tls.crt"].split()
            for pod in pods:
                assert served(session, pod["status"]["podIP"]).split() == certificate, pod["metadata"]["name"]
        return True
    wait_for("everybody showing the certificate of their Secret", shown, 180)


@pytest.mark.own_cluster
def test_a_call_needs_a_certificate_and_metrics_do_not(place):
    place.ready(table("guarded"))
    session = place.session
    [pod] = place.kubectl.items("pods", STORAGE)
    program = ("import sys, urllib.request as r, urllib.error as e\n"
               "try: print(r.urlopen(sys.argv[1], timeout=10).status)\n"
               "except e.HTTPError as error: print(error.code, error.read().decode())\n"
               "except Exception as error: print(error)")

    def asked(url):
        return subprocess.run(inside(session.own.network, "python3", "-c", program, url), capture_output=True, text=True, check=True).stdout

    address = pod["status"]["podIP"]
    assert asked(f"http://{address}:{ADMIN}/metrics").strip() == "200"
    assert asked(f"http://{address}:{ADMIN}/store").startswith("403"), "calls have an address of their own"
    assert "200" not in asked(f"http://{address}:{ADMIN_TLS}/store")
    assert "200" not in asked(f"https://{address}:{ADMIN_TLS}/store")


@pytest.mark.own_cluster
def test_certificates_that_are_deleted_come_back_and_nobody_notices(place):
    place.ready(three("trio"))
    session, kubectl = place.session, place.kubectl
    whole(kubectl)
    checker = place.sdk().check("trio", repeats=True)
    before = data(kubectl, REPLICAS)
    for name in (REPLICAS, ROUTERS):
        kubectl.delete("secret", name)
    wait_for("the Secrets", lambda: all(kubectl.get("secret", name) for name in (REPLICAS, ROUTERS)))
    after = data(kubectl, REPLICAS)
    assert after["tls.crt"] != before["tls.crt"] and after["ca.crt"] == before["ca.crt"]
    all_show_what_their_secret_holds(session, kubectl)
    # Whoever leads is killed: the others meet with their new certificates.
    leader = partition(kubectl)["status"]["leader"]
    kubectl("delete", "pod", leader, "--grace-period=0", "--force")
    whole(kubectl)
    checker.progress()
    assert checker.finish()["failed"] == 0


@pytest.mark.own_cluster
@pytest.mark.long
def test_the_authority_is_replaced_under_load(place):
    session, kubectl = place.session, place.kubectl
    session.install(f"--set=peerTls.settleSeconds={SETTLE_SECONDS}")
    try:
        place.ready(three("trio"))
        whole(kubectl)
        checker = place.sdk().check("trio", repeats=True)
        pods = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kubectl.items("pods", STORAGE)}
        before = data(session.system, AUTHORITY)
        session.system("annotate", "secret", AUTHORITY, f"partita.dev/rotate={place.name}", "--overwrite")

        def step(name, holds):
            wait_for(name, lambda: holds(data(session.system, AUTHORITY)), 3 * SETTLE_SECONDS)
            checker.progress()

        step("the next one being trusted", lambda now: "next.crt" in now)
        assert data(kubectl, REPLICAS)["tls.crt"] and before["tls.crt"] in data(kubectl, REPLICAS)["ca.crt"]
        step("the next one signing", lambda now: "previous.crt" in now and now["tls.crt"] != before["tls.crt"])
        all_show_what_their_secret_holds(session, kubectl)
        step("the former one being forgotten", lambda now: "previous.crt" not in now)
        wait_for("nobody trusting the former one", lambda: before["tls.crt"] not in data(kubectl, REPLICAS)["ca.crt"])
        # Nobody was restarted for it; and who starts now finds the others.
        assert pods == {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kubectl.items("pods", STORAGE)}
        kubectl.delete("pod", partition(kubectl)["status"]["leader"])
        whole(kubectl)
        checker.progress()
        assert checker.finish()["failed"] == 0
    finally:
        session.install()


@pytest.mark.own_cluster
@pytest.mark.long
def test_mutual_tls_is_turned_off_and_on_and_nothing_is_lost(place):
    session, kubectl = place.session, place.kubectl
    place.ready(three("trio"))
    whole(kubectl)
    checker = place.sdk().check("trio", repeats=True)
    try:
        for secured, arguments in ((False, ["--set=peerTls.enabled=false"]), (True, [])):
            assert "Mutual TLS is turned" in session.install(*arguments)

            def all_speak_it(secured=secured):
                pods = kubectl.items("pods", STORAGE)
                speak = [any(argument.startswith("--peer-tls=") for argument in pod["spec"]["containers"][0]["args"]) for pod in pods]
                assert speak == [secured] * 3, speak
                return True
            wait_for("all nodes being other ones", all_speak_it, 300)
            wait_for("all other tables' nodes", lambda: all_restarted(session), 300)
            whole(kubectl)
            checker.progress(seconds=180)
    finally:
        session.install()
    # Calls failed meanwhile; what was acknowledged is there.
    checker.finish()
