"""Where one scenario happens: a namespace of its own, whose access keys are Secrets of the release."""

from .sdk import in_pod
from .session import namespace_object

PICTURE_COLUMNS = 400


class Place:
    """A namespace and what a scenario does in it."""

    def __init__(self, session, name):
        self.session, self.name = session, name
        self.kubectl = session.kubectl.within(name)
        self.secrets = []
        session.kubectl.apply(namespace_object(name))

    def of(self, session):
        """The same namespace as another release has it; it goes with this place."""
        other = Place(session, self.name)
        other.secrets = self.secrets
        return other

    def key(self, permission=None, secret="secret", name=None):
        """Makes an access key of this namespace (or changes it); its id and secret."""
        name = name or f"{self.name}-{permission or 'tables'}"
        identity = f"AK-{name}"
        data = {"accessKeyId": identity, "secretAccessKey": secret}
        if permission:
            data["permission"] = permission
        self.session.system.apply({
            "apiVersion": "v1", "kind": "Secret", "stringData": data,
            "metadata": {"name": name, "namespace": self.session.namespace, "labels": {"partita.dev/namespace": self.name}}})
        self.secrets.append(name)
        return identity, secret

    def sdk(self, name="client", key=None, endpoint=None):
        """boto3 in a pod of this namespace, with a key of its own or the one given; at the routers' Service or the endpoint given."""
        sdk = in_pod(self.session, self.kubectl, name, *(key or self.key()), endpoint)
        # Routers follow Secrets by a watch: a moment after it was made, the key is known.
        if not key:
            sdk.eventually("list_tables")
        return sdk

    def apply(self, *tables, **options):
        """Applies Tables, without waiting for them."""
        return self.kubectl.apply(*tables, **options)

    def ready(self, *tables, seconds=120):
        """Applies Tables and waits until they are ready."""
        self.apply(*tables)
        self.kubectl.ready("tables", *(table["metadata"]["name"] for table in tables), seconds=seconds)

    def picture(self):
        """What a person would look at when something is wrong."""
        system = self.session.system
        looks = (
            (self.kubectl, "get", "tables,partitions,statefulsets,pods,pvc", "-o", "wide"),
            (self.kubectl, "get", "tables", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status.conditions}{\"\\n\"}{end}"),
            (self.kubectl, "get", "events", "--sort-by=.metadata.creationTimestamp"),
            (system, "get", "pods", "-o", "wide"),
            (system, "logs", "-l", "app.kubernetes.io/component=operator", "--tail=20", "--prefix"),
            (system, "logs", "-l", "app.kubernetes.io/component=router", "--tail=20", "--prefix"))
        shown = [(arguments, kubectl.attempt(*arguments)) for kubectl, *arguments in looks]
        lines = "\n".join(f"$ kubectl {' '.join(arguments)}\n{done.stdout}{done.stderr}" for arguments, done in shown)
        return "\n".join(line[:PICTURE_COLUMNS] for line in lines.splitlines())

    def remove(self):
        """Removes the namespace with all that is in it. The session sees to it that it really goes."""
        # Data that is kept on purpose is kept for somebody; here nobody comes back for it.
        self.session.kubectl.delete("namespace", self.name, wait=False)
        self.session.leaving.add(self.name)
        if self.secrets:
            self.session.system.delete("secret", *set(self.secrets))
