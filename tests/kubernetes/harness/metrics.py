"""What the cluster's Prometheus answers."""

import json
import subprocess

from local import prometheus

from .waiting import wait_for


def query(session, expression):
    """The result of an instant query."""
    done = subprocess.run(prometheus.fetch(session.own, prometheus.query_path(expression)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "success", answer
    return answer["data"]["result"]


def eventually(session, expression, condition=lambda samples: samples, seconds=60):
    """Waits until a query's samples meet a condition."""
    def met():
        samples = query(session, expression)
        assert condition(samples), samples
        return True   # samples may be the empty list that is waited for
    wait_for(f"data for {expression}", met, seconds)
