"""An API server that knows Secrets and StatefulSets, as much of it as a template's `lookup` asks for. On a port of loopback."""

import contextlib
import http.server
import json
import threading

import yaml

def resources(version, plural, kind):
    """What a group's version has."""
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
            "resources": [{"name": plural, "kind": kind, "namespaced": True, "verbs": ["get", "list"]}]}


MISSING = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


@contextlib.contextmanager
def serving(secrets, folder, stateful_sets=()):
    """The path of a kubeconfig for a server that has these Secrets and StatefulSets, while the context lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        """GET alone."""

        def do_GET(self):
            path = self.path.partition("?")[0]
            found = {
                "/api/v1": resources("v1", "secrets", "Secret"),
                "/apis/apps/v1": resources("apps/v1", "statefulsets", "StatefulSet"),
                "/apis/apps/v1/statefulsets": {"apiVersion": "apps/v1", "kind": "StatefulSetList", "metadata": {}, "items": list(stateful_sets)},
            } | {f"/api/v1/namespaces/{secret['metadata']['namespace']}/secrets/{secret['metadata']['name']}": secret
                                              for secret in secrets}
            body = json.dumps(found.get(path, MISSING)).encode()
            self.send_response(200 if path in found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "users": [{"name": "it", "user": {}}],
        }))
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()
