"""`partita admin`, as docs/operations.md says ("Calls by hand"): with a certificate of the release's authority."""

import base64
import subprocess

from local.machine import inside

from .session import programs

AUTHORITY = "partita-authority"
ADMIN_TLS = 8002
REQUEST = (
    "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=admin",
    "-addext", "subjectAltName=DNS:admin.partita.internal", "-addext", "extendedKeyUsage=clientAuth,serverAuth",
    "-addext", "basicConstraints=critical,CA:FALSE")


class Admin:
    """Calls of the storage nodes of a namespace, from the cluster's own machine."""

    def __init__(self, place, folder):
        self.place, self.folder = place, folder
        secret = place.session.system.get("secret", AUTHORITY)["data"]
        for name, file in (("tls.crt", "ca.crt"), ("tls.key", "ca.key")):
            (folder / file).write_bytes(base64.b64decode(secret[name]))
        subprocess.run(["openssl", "req", *REQUEST, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key",
                        "-keyout", folder / "tls.key", "-out", folder / "tls.crt"], check=True, capture_output=True)

    def __call__(self, *arguments):
        """What an order that must succeed prints."""
        pods = self.place.kubectl.items("pods", "app.kubernetes.io/component=storage")
        nodes = ",".join(f"{pod['status']['podIP']}:{ADMIN_TLS}" for pod in pods)
        command = [programs() / "partita", "admin", "--nodes", nodes, "--peer-tls", self.folder, *arguments]
        done = subprocess.run(inside(self.place.session.own.network, *command), capture_output=True, text=True)
        assert done.returncode == 0, f"partita admin {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
        return done.stdout
