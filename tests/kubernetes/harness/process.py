"""A pod's process that is killed where it runs, and the one that follows it. Neither needs the API server."""

from .waiting import wait_for

ADMIN = 8001
# The kubelet waits longer with every end of a container, and forgets that after ten minutes: 10 s, 20 s, 40 s, ….
BACK_SECONDS_MAX = 180


def kill(session, pod):
    """Kills the process of a pod's first container; what is returned waits until another one is ready in its place."""
    address = pod["status"]["podIP"]
    before = started(session, address)
    session.own.kill_container(pod["metadata"]["namespace"], pod["metadata"]["name"], pod["spec"]["containers"][0]["name"])

    def back():
        assert started(session, address) != before
        session.fetch_here(f"http://{address}:{ADMIN}/readyz")
        return True
    return lambda: wait_for(f"another process in {pod['metadata']['name']}", back, BACK_SECONDS_MAX)


def started(session, address):
    """When the process at this address was started, as it says."""
    lines = session.fetch_here(f"http://{address}:{ADMIN}/metrics").splitlines()
    return next(line for line in lines if line.startswith("process_start_time_seconds "))
