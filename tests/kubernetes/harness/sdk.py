"""boto3 in a pod: each call is made inside the cluster, by an unmodified SDK, and nothing is repeated unless it is said."""

import json

from .waiting import wait_for

PORT = 9000


class ApiError(AssertionError):
    """The DynamoDB API answered with an error."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def in_pod(session, kubectl, name, access_key, secret_key, endpoint=None):
    """A pod with the tests' client, and keys of one namespace."""
    kubectl.apply(pod(name, session.client_image, settings(session, access_key, secret_key, endpoint)))
    return Sdk(session, kubectl, name)


def settings(session, access_key, secret_key, endpoint=None):
    """Where the API is (at the routers' Service, if nothing else is said) and who asks, as any SDK reads it."""
    return {
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint or session.endpoint, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key, "AWS_EC2_METADATA_DISABLED": "true"}


class Sdk:
    """The tests' client in a pod, which may still be starting."""

    def __init__(self, session, kubectl, name):
        self.session, self.kubectl, self.name = session, kubectl, name
        kubectl.ready("pod", name, seconds=60)
        self.address = kubectl.get("pod", name)["status"]["podIP"]

    def path(self, rest):
        return f"/api/v1/namespaces/{self.kubectl.namespace}/pods/{self.name}:{PORT}/proxy/{rest}"

    def __call__(self, operation, **parameters):
        """One call of boto3's client: sdk("put_item", TableName=…)."""
        return outcome(self.kubectl.post(self.path("call"), {"operation": operation, "parameters": parameters}))

    def refused(self, operation, **parameters):
        """The error of a call that must fail."""
        try:
            answer = self(operation, **parameters)
        except ApiError as error:
            return error
        raise AssertionError(f"{operation} should fail: {parameters} answers {answer}")

    def eventually(self, operation, seconds=60, **parameters):
        """The answer of a call that may fail for a while."""
        def answered():
            return {"answer": self(operation, **parameters)}
        return wait_for(f"{operation} {parameters}", answered, seconds)["answer"]

    def active(self, table, seconds=120):
        """Waits until a table and its indexes are active; its description."""
        def description():
            found = self("describe_table", TableName=table)["Table"]
            states = [index["IndexStatus"] for index in found.get("GlobalSecondaryIndexes", [])]
            assert {found["TableStatus"], *states} == {"ACTIVE"}, (found["TableStatus"], states)
            return found
        return wait_for(f"table {table} being active", description, seconds)

    def check(self, table, name=None, writers=2, per_second=30, repeats=False, keys=None, text_bytes=300,
              collection=None):
        """Starts a checker: it writes numbered items and reads them back until it is finished, with keys of its own or the given
        ones: sort keys of one collection, if there is one. If it repeats, a call that fails is made again as the SDK does by default, and counts as failed only if that does
        not help."""
        name = name or table
        outcome(self.kubectl.post(self.path(f"check/{name}"), {
            "table": table, "writers": writers, "writesPerSecond": per_second, "repeats": repeats,
            "keys": keys, "textBytes": text_bytes, "collection": collection}))
        checker = Check(self, name)
        checker.progress()
        return checker


class Check:
    """A checker that runs in the client's pod."""

    def __init__(self, sdk, name):
        self.sdk, self.name = sdk, name

    def status(self):
        """Its counts so far."""
        return outcome(self.sdk.kubectl.fetch(self.sdk.path(f"check/{self.name}")))

    def status_without_api_server(self):
        """The same straight from the pod; only from the cluster's own machine."""
        return outcome(json.loads(self.sdk.session.fetch_here(f"http://{self.sdk.address}:{PORT}/check/{self.name}")))

    def progress(self, more=20, seconds=60, status=None):
        """Waits until that many more writes are acknowledged and reads answered; the counts then."""
        status = status or self.status
        before = status()

        def further():
            now = status()
            assert now["acknowledged"] >= before["acknowledged"] + more and now["read"] >= before["read"] + more, now
            return now
        return wait_for(f"{more} more writes and reads", further, seconds)

    def finish(self):
        """Ends it. Nothing acknowledged may be lost, and nothing wrong have been read; its counts."""
        report = outcome(self.sdk.kubectl.fetch(self.sdk.path(f"finish/{self.name}")))
        assert report["acknowledged"] > 0 and report["lost"] == 0 and report["wrong"] == 0, report
        assert report["scanned"] == report["items"], report
        return report


def outcome(body):
    if "error" in body:
        error = body["error"]
        raise ApiError(error["code"], error["message"] + (f"\n{error['trace']}" if "trace" in error else ""))
    return body["answer"]


def pod(name, image, environment):
    """A pod of the client, without any right."""
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "test-client"}},
        "spec": {
            "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False, "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "client", "image": image, "imagePullPolicy": "IfNotPresent",
                "env": [{"name": key, "value": value} for key, value in environment.items()],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                    "capabilities": {"drop": ["ALL"]}}}]}}
