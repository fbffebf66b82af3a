"""What the scenarios share.

    waiting.py      conditions with a deadline
    kubectl.py      kubectl, JSON in and out
    session.py      the cluster of the whole run, with the chart installed
    place.py        a namespace of one scenario, with keys of its own
    sdk.py          boto3 in a pod, and the checker that writes all the way through
    process.py      a pod's process that is killed, without the API server
    admin.py        partita admin, with a certificate
    manifests.py    Tables
    metrics.py      Prometheus
"""
