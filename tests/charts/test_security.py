"""What every pod and every role must be: `restricted` pods, and no right that nobody asked for."""

from conftest import named, of_kind, values_of

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
        beside = [manifest for manifest in manifests if manifest["metadata"].get("namespace") == binding["metadata"].get("namespace")]
        named(beside, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for subject in binding["subjects"]:
            account = named(manifests, subject["kind"], subject["name"])
            assert account["metadata"]["namespace"] == subject["namespace"]


def test_roles_name_every_right(manifests):
    for role in of_kind(manifests, "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert rule.keys() <= {"apiGroups", "resources", "resourceNames", "verbs"}
            assert not any("*" in word for words in rule.values() for word in words)
            assert set(rule["verbs"]) <= VERBS
            # The operator trusts its own webhook's certificates: that one, by its name.
            assert not ESCALATING & set(rule["resources"]) or rule["resources"] == ["validatingwebhookconfigurations"] and rule["resourceNames"]


def test_secrets_are_read_by_routers_alone_and_where_it_was_said(case, manifests):
    """In the release namespace, and in those that credentials.namespaces names."""
    settings, values = values_of(case)
    # A Secret that is named (the webhook's) is its owner's own.
    readers = [role for role in of_kind(manifests, "Role", "ClusterRole")
               if any("secrets" in rule["resources"] and not rule.get("resourceNames") and rule["verbs"] != ["create"] for rule in role["rules"])]
    assert {(role["kind"], role["metadata"]["labels"]["app.kubernetes.io/component"]) for role in readers} == {("Role", "router")}
    further = values.get("credentials", {}).get("namespaces", [])
    assert [role["metadata"]["namespace"] for role in readers] == [settings["namespace"], *further]
    for role in readers:
        assert {rule["resources"][0]: rule["verbs"] for rule in role["rules"]} == {
            "secrets": ["get", "list", "watch"], "events": ["create", "patch"]}
        bindings = [binding for binding in of_kind(manifests, "RoleBinding") if binding["roleRef"]["name"] == role["metadata"]["name"]
                    and binding["metadata"]["namespace"] == role["metadata"]["namespace"]]
        assert [subject["namespace"] for binding in bindings for subject in binding["subjects"]] == [settings["namespace"]]


def test_the_operator_reads_secrets_of_its_own_by_their_names(manifests):
    allowed = {"Role": {"partita-authority"}, "ClusterRole": {"partita-replica-tls", "partita-router-tls"}}
    for role in of_kind(manifests, "Role", "ClusterRole"):
        if role["metadata"]["labels"]["app.kubernetes.io/component"] != "operator":
            continue
        for rule in role["rules"]:
            if "secrets" in rule["resources"] and rule["verbs"] != ["create"]:
                names = {name for name in rule["resourceNames"] if not name.endswith("-operator-webhook")}
                assert names == allowed[role["kind"]] and "delete" not in rule["verbs"]


def test_everything_namespaced_is_where_it_was_said(case, manifests):
    settings, values = values_of(case)
    elsewhere = {*values.get("credentials", {}).get("namespaces", []), *values.get("networkPolicies", {}).get("tableNamespaces", [])}
    for manifest in manifests:
        if manifest["kind"] in ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "ValidatingWebhookConfiguration",
                                "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
            assert "namespace" not in manifest["metadata"]
        elif manifest["metadata"]["namespace"] != settings["namespace"]:
            assert manifest["metadata"]["namespace"] in elsewhere and manifest["kind"] in ("Role", "RoleBinding", "NetworkPolicy")


def test_who_views_or_edits_a_namespace_does_so_with_its_tables(case, manifests):
    label = "rbac.authorization.k8s.io/aggregate-to-"
    granted = {}
    for role in of_kind(manifests, "ClusterRole"):
        for to in (name.removeprefix(label) for name in role["metadata"]["labels"] if name.startswith(label)):
            for rule in role["rules"]:
                for resource in rule["resources"]:
                    granted.setdefault(to, {}).setdefault(resource, set()).update(rule["verbs"])
    _, values = values_of(case)
    if not values.get("rbac", {}).get("aggregate", True):
        assert granted == {}
        return
    read, write = {"get", "list", "watch"}, {"create", "update", "patch", "delete"}
    viewed = {"tables": read, "tables/status": read, "partitions": read, "partitions/status": read}
    edited = {**viewed, "tables": read | write}
    assert granted == {"view": viewed, "edit": edited, "admin": edited}


def test_storage_nodes_are_reached_by_our_own_pods_alone(manifests):
    """Whoever reaches their transport reads and writes everything."""
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        if policy["metadata"]["labels"]["app.kubernetes.io/component"] == "storage":
            rules = {rule["ports"][0]["port"]: rule["from"] for rule in policy["spec"]["ingress"]}
            secured = {"admin-tls"} if any("--peer-tls" in argument for _, pod in pods(manifests) for argument in pod["containers"][0]["args"]) else set()
            assert rules.keys() == {"transport", "admin"} | secured
            for port in secured:
                assert [peer["podSelector"]["matchLabels"] for peer in rules[port]] == [{"app.kubernetes.io/name": "partita"}]
            labels = [peer["podSelector"]["matchLabels"] for peer in rules["transport"]]
            assert labels == [{"app.kubernetes.io/name": "partita"}, {"partita.dev/router": "true"}]
            assert rules["admin"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "partita"}
        else:
            assert all(rule.get("from") for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] in ("admin", "admin-tls"))
