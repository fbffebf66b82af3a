"""What every pod and every role must be: `restricted` pods, and no right that nobody asked for."""

from conftest import named, of_kind

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
HOST = {"hostNetwork", "hostPID", "hostIPC"}
VERBS = {"get", "list", "watch", "create", "update", "patch", "delete"}
# What leads to rights that the role does not name.
ESCALATING = {"serviceaccounts", "serviceaccounts/token", "pods/exec", "pods/attach", "roles", "rolebindings", "clusterroles",
              "clusterrolebindings", "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "nodes/proxy"}


def pods(manifests):
    """The pod specifications of everything that makes pods."""
    return [(manifest, manifest["spec"]["template"]["spec"]) for manifest in manifests if "template" in manifest.get("spec", {})]


def test_pods_are_restricted(manifests):
    assert len(pods(manifests)) == 2
    for _, pod in pods(manifests):
        assert not HOST & pod.keys()
        assert all(VOLUMES & volume.keys() for volume in pod.get("volumes", []))
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] == 65532
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container["ports"])


def test_pods_have_probes_that_lead_somewhere(manifests):
    for _, pod in pods(manifests):
        for container in pod["containers"]:
            ports = {port["name"] for port in container["ports"]}
            assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
            assert "admin" in ports


def test_everything_that_is_written_is_a_volume(manifests):
    for _, pod in pods(manifests):
        for container in pod["containers"]:
            folders = [argument.partition("=")[2] for argument in container["args"] if argument.startswith("--directory-cache=")]
            assert folders == [mount["mountPath"] for mount in container.get("volumeMounts", []) if not mount.get("readOnly")]


def test_certificates_are_mounted_where_they_are_read(manifests):
    for _, pod in pods(manifests):
        for container in pod["containers"]:
            mounted = {mount["mountPath"] for mount in container.get("volumeMounts", []) if mount.get("readOnly")}
            read = {argument.partition("=")[2] for argument in container["args"] if argument.startswith("--peer-tls=")}
            read |= {argument.partition("=")[2].rpartition("/")[0] for argument in container["args"]
                     if argument.startswith(("--tls-cert=", "--tls-key="))}
            assert mounted == read
        secrets = [volume["secret"] for volume in pod.get("volumes", []) if "secret" in volume]
        assert all(secret["defaultMode"] == 0o440 for secret in secrets)


def test_a_token_is_where_a_role_is(manifests):
    bound = {subject["name"] for binding in of_kind(manifests, "RoleBinding", "ClusterRoleBinding") for subject in binding["subjects"]}
    assert bound == {account["metadata"]["name"] for account in of_kind(manifests, "ServiceAccount")}
    assert all(account["automountServiceAccountToken"] is False for account in of_kind(manifests, "ServiceAccount"))
    for _, pod in pods(manifests):
        assert pod["automountServiceAccountToken"] is True and pod["serviceAccountName"] in bound


def test_bindings_bind_what_there_is(manifests):
    for binding in of_kind(manifests, "RoleBinding", "ClusterRoleBinding"):
        named(manifests, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for subject in binding["subjects"]:
            account = named(manifests, subject["kind"], subject["name"])
            assert account["metadata"]["namespace"] == subject["namespace"]


def test_roles_name_every_right(manifests):
    for role in of_kind(manifests, "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert rule.keys() <= {"apiGroups", "resources", "resourceNames", "verbs"}
            assert not any("*" in word for words in rule.values() for word in words)
            assert set(rule["verbs"]) <= VERBS
            assert not ESCALATING & set(rule["resources"])


def test_secrets_are_read_in_one_namespace_by_routers_and_else_by_name(manifests):
    rules = [(role["metadata"]["labels"]["app.kubernetes.io/component"], role["kind"], rule)
             for role in of_kind(manifests, "Role", "ClusterRole") for rule in role["rules"] if "secrets" in rule["resources"]]
    assert [(kind, rule["verbs"]) for component, kind, rule in rules if component == "router"] == [("Role", ["get", "list", "watch"])]
    for component, kind, rule in rules:
        if component == "operator":
            names = {"Role": ["partita-authority"], "ClusterRole": ["partita-replica-tls", "partita-router-tls"]}[kind]
            assert rule["verbs"] == ["create"] or rule["resourceNames"] == names
        else:
            assert component == "router"


def test_everything_namespaced_is_in_the_release_namespace(manifests):
    namespaces = {manifest["metadata"].get("namespace") for manifest in manifests
                  if manifest["kind"] not in ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")}
    assert len(namespaces) == 1 and None not in namespaces
