"""Names that must meet: selectors and pods, ports and Services, the operator's address of the routers, PodMonitors and pods."""

import json

import pytest

from conftest import documents, helm_template, named, of_kind, rendered, values_of


def selected(manifests, selector):
    """The Deployments whose pods a selector finds."""
    return [deployment for deployment in of_kind(manifests, "Deployment")
            if selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()]


def flags(deployment):
    """The arguments of a Deployment's container, as a table; a flag given twice has a list."""
    table = {}
    for argument in deployment["spec"]["template"]["spec"]["containers"][0]["args"]:
        name, _, value = argument.partition("=")
        table.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in table.items()}


def component(manifests, name):
    """The Deployment of a component."""
    found = [deployment for deployment in of_kind(manifests, "Deployment")
             if deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == name]
    assert len(found) == 1
    return found[0]


def test_deployments_select_their_own_pods_alone(manifests):
    for deployment in of_kind(manifests, "Deployment"):
        assert selected(manifests, deployment["spec"]["selector"]["matchLabels"]) == [deployment]
        for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert selected(manifests, constraint["labelSelector"]["matchLabels"]) == [deployment]


def test_services_lead_to_ports_of_routers(manifests):
    routers = component(manifests, "router")
    ports = {port["name"]: port["containerPort"] for port in routers["spec"]["template"]["spec"]["containers"][0]["ports"]}
    for service in of_kind(manifests, "Service"):
        if service["metadata"]["name"].endswith("-webhook"):
            continue
        assert selected(manifests, service["spec"]["selector"]) == [routers]
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_the_operator_knows_the_routers_service(manifests):
    service, = (service for service in of_kind(manifests, "Service") if service["metadata"]["name"].endswith("-routers"))
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    secured = "--peer-tls" in flags(component(manifests, "operator"))
    scheme, port = ("https", 8002) if secured else ("http", 8001)
    assert flags(component(manifests, "operator"))["--router-directory"] == f"{scheme}://{name}.{namespace}.svc:{port}"
    assert [taken["appProtocol"] for taken in service["spec"]["ports"] if taken["port"] == port] == [scheme]


def test_mutual_tls_is_everywhere_or_nowhere(manifests):
    operator, router = flags(component(manifests, "operator")), flags(component(manifests, "router"))
    assert ("--peer-tls" in operator) == ("--peer-tls" in router)
    if "--peer-tls" in router:
        assert router["--admin-tls-listen"] == "0.0.0.0:8002"


def test_mutual_tls_is_the_default():
    assert "--peer-tls" in flags(component(documents(rendered()), "router"))


def test_clients_outside_reach_the_api_and_nothing_else():
    services = of_kind(documents(rendered("--set", "routers.service.type=LoadBalancer")), "Service")
    outside = [service for service in services if service["spec"]["type"] != "ClusterIP"]
    assert [[port["port"] for port in service["spec"]["ports"]] for service in outside] == [[8000]]
    assert len(services) == 4


def test_storage_nodes_run_the_same_image(manifests):
    for deployment in of_kind(manifests, "Deployment"):
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image == flags(component(manifests, "operator"))["--image"]


def test_storage_pods_are_what_the_values_say(case, manifests):
    _, values = values_of(case)
    given = json.loads(flags(component(manifests, "operator"))["--storage-pods"])
    wanted = values.get("tables", {}).get("pods", {})
    assert given == {"nodeSelector": {}, "tolerations": [], "affinity": {}, "priorityClassName": "", "labels": {}, "annotations": {},
                     **wanted, "topology": wanted.get("topology", "preferred").title()}


def test_a_required_topology_lets_pods_wait_for_a_host(case, manifests):
    _, values = values_of(case)
    for name, key in ("operator", "operator"), ("router", "routers"):
        constraints = component(manifests, name)["spec"]["template"]["spec"]["topologySpreadConstraints"]
        strict = values.get(key, {}).get("topology") == "required"
        assert {one["topologyKey"]: one["whenUnsatisfiable"] for one in constraints} == {
            "kubernetes.io/hostname": "DoNotSchedule" if strict else "ScheduleAnyway", "topology.kubernetes.io/zone": "ScheduleAnyway"}


def test_the_lease_may_be_held(manifests):
    operator = component(manifests, "operator")
    account = operator["spec"]["template"]["spec"]["serviceAccountName"]
    role = named(manifests, "Role", account)
    assert role["metadata"]["namespace"] == flags(operator)["--namespace"]
    assert {"create", "get", "update"} <= {verb for rule in role["rules"] for verb in rule["verbs"]}


def test_budgets_policies_and_autoscalers_find_pods(manifests):
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert len(selected(manifests, budget["spec"]["selector"]["matchLabels"])) == 1
    assert len(of_kind(manifests, "PodDisruptionBudget")) == 2
    for policy in of_kind(manifests, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        if selector["app.kubernetes.io/component"] == "storage":
            assert "app.kubernetes.io/instance" not in selector, "storage nodes belong to no release"
            continue
        deployment, = selected(manifests, selector)
        ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports
    for autoscaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = autoscaler["spec"]["scaleTargetRef"]
        assert "replicas" not in named(manifests, target["kind"], target["name"])["spec"], "the two would fight over it"


def test_an_autoscaler_has_bounds_that_fit():
    process = helm_template("--set", "routers.autoscaling.enabled=true", "--set", "routers.autoscaling.minReplicas=11")
    assert process.returncode != 0 and "minReplicas (11) is above maxReplicas (10)" in process.stderr


def test_the_webhook_is_found_trusted_and_in_nobodys_way():
    manifests = documents(rendered())
    operator = component(manifests, "operator")
    name = flags(operator)["--webhook"]
    configuration = named(manifests, "ValidatingWebhookConfiguration", name)
    webhook, = configuration["webhooks"]
    assert (webhook["sideEffects"], webhook["failurePolicy"], webhook["timeoutSeconds"]) == ("None", "Ignore", 2)
    place = webhook["clientConfig"]["service"]
    service = named(manifests, "Service", place["name"])
    assert place["name"] == name and service["metadata"]["namespace"] == place["namespace"]
    assert selected(manifests, service["spec"]["selector"]) == [operator]
    port, = service["spec"]["ports"]
    container = operator["spec"]["template"]["spec"]["containers"][0]
    assert port["port"] == place["port"]
    assert port["targetPort"] in [port["name"] for port in container["ports"]]
    assert "caBundle" not in webhook["clientConfig"], "an upgrade must not take away what the operator has written"
    account = operator["spec"]["template"]["spec"]["serviceAccountName"]
    for kind, resource, names in ("ClusterRole", "validatingwebhookconfigurations", [name]), ("Role", "secrets", ["partita-authority", name]):
        rules = [rule for rule in named(manifests, kind, account)["rules"] if resource in rule["resources"]]
        assert [rule["resourceNames"] for rule in rules if rule["verbs"] != ["create"]] == [names]
    routers = component(manifests, "router")["spec"]["template"]["spec"]["serviceAccountName"]
    conditions = " ".join(condition["expression"] for condition in webhook["matchConditions"])
    assert f"system:serviceaccount:{place['namespace']}:{routers}\"" in conditions


def test_without_the_webhook_nothing_of_it_is_there():
    manifests = documents(rendered("--set", "operator.webhook.enabled=false"))
    assert "webhook" not in str(manifests).lower().replace("partita_", "")


def test_without_either_the_operator_has_no_secrets():
    manifests = documents(rendered("--set", "operator.webhook.enabled=false", "--set", "peerTls.enabled=false"))
    account = component(manifests, "operator")["spec"]["template"]["spec"]["serviceAccountName"]
    for kind in "Role", "ClusterRole":
        assert not any("secrets" in rule["resources"] for rule in named(manifests, kind, account)["rules"])


def test_podmonitors_find_pods(manifests):
    for monitor in of_kind(manifests, "PodMonitor"):
        endpoint, = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] == "admin" and endpoint["path"] == "/metrics"
        selector = monitor["spec"]["selector"]["matchLabels"]
        if selector["app.kubernetes.io/component"] == "storage":
            assert monitor["spec"]["namespaceSelector"] == {"any": True}
            assert "app.kubernetes.io/instance" not in selector, "storage nodes belong to no release"
        else:
            deployment, = selected(manifests, selector)
            assert "admin" in [port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]]


@pytest.mark.parametrize("enabled, known, count", [("auto", False, 0), ("auto", True, 3), ("true", False, 3), ("false", True, 0)])
def test_podmonitors_are_there_when_the_cluster_knows_them(enabled, known, count):
    arguments = ["--set", f"podMonitors.enabled={enabled}"] + (["--api-versions", "monitoring.coreos.com/v1/PodMonitor"] if known else [])
    assert len(of_kind(documents(rendered(*arguments)), "PodMonitor")) == count


@pytest.mark.parametrize("release, values, beginning", [
    ("partita", [], "partita"),
    ("db", [], "db-partita"),
    ("my-partita-2", [], "my-partita-2"),
    ("db", ["--set", "nameOverride=db"], "db"),
    ("db", ["--set", "fullnameOverride=shop"], "shop"),
    ("a" * 53, [], "a" * 46),
])
def test_names(release, values, beginning):
    manifests = documents(rendered("--set", "crds.install=false", "--set", "routers.service.type=NodePort", *values, release=release))
    names = {manifest["metadata"]["name"] for manifest in manifests}
    assert names == {f"{beginning}-{suffix}" for suffix in ("operator", "operator-webhook", "routers", "routers-headless", "routers-external", "tables",
                                                          "tables-view", "tables-edit")}
    assert max(map(len, names)) <= 63


def test_two_of_one_name_are_refused():
    key = '[{"name": "a", "namespace": "x"}, {"name": "a", "namespace": "y"}]'
    process = helm_template("--set-json", f"credentials.create={key}")
    assert process.returncode != 0 and 'two entries have the name "a"' in process.stderr
