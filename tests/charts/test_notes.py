"""NOTES.txt ends in commands that a shell takes as they are."""

import json
import re
import shutil
import subprocess

import pytest

from conftest import CHART, documents, named, rendered
import api_server


@pytest.fixture
def notes(tmp_path):
    """Renders NOTES.txt: as a text in a manifest, because helm prints it with a cluster alone."""
    chart = tmp_path / "partita"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "files" / "NOTES.txt")
    (chart / "templates" / "notes.yaml").write_text('kind: Notes\nmetadata: {name: notes}\ntext: {{ tpl (.Files.Get "files/NOTES.txt") . | quote }}\n')

    def notes(*arguments, **options):
        return named(documents(rendered("--set", "crds.install=false", *arguments, chart=chart, **options)), "Notes", "notes")["text"]

    return notes


KEY = "credentials.create=" + json.dumps([{"name": "app", "namespace": "shop"}])


@pytest.mark.parametrize("arguments, key, namespace", [([], "first-key", "default"), (["--set-json", KEY], "app", "shop")])
def test_the_commands(arguments, key, namespace, notes, tmp_path):
    """They are run with programs that only write down what they are asked."""
    text = notes(*arguments)
    commands = text[text.index("kubectl "):]
    for program in ("kubectl", "aws"):
        path = tmp_path / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'''#!/bin/bash
echo "{program} $*" "${{AWS_ACCESS_KEY_ID:+as $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY}}" >> {tmp_path}/asked
case "$*" in
  *"get secret"*accessKeyId*) printf id-of-the-key | base64 ;;
  *"get secret"*secretAccessKey*) printf secret-of-the-key | base64 ;;
  *"apply -f -"*) cat > {tmp_path}/table.yaml ;;
esac
''')
        path.chmod(0o755)
    script = f'set -eu\nPATH="{tmp_path}/bin:$PATH"\n{commands}\nwait\n'
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert shell.returncode == 0, shell.stderr
    asked = (tmp_path / "asked").read_text()
    for expected in (
        "kubectl -n partita-system rollout status deployment/partita-routers",
        "kubectl -n partita-system port-forward service/partita-routers 8000:8000",
        f"kubectl -n {namespace} wait --for=condition=Ready --timeout=5m table/music",
        f"kubectl -n partita-system get secret {key} -o jsonpath={{.data.secretAccessKey}}",
        "aws dynamodb list-tables --endpoint-url http://127.0.0.1:8000 --region us-east-1 as id-of-the-key secret-of-the-key",
    ):
        assert expected in asked
    made = re.search(r"create secret generic (\S+) --from-literal=accessKeyId=(\S+) --from-literal=secretAccessKey=[0-9a-f]{40}", asked)
    assert bool(made) == (not arguments)
    assert not made or f"label secret {made[1]} partita.dev/namespace={namespace}" in asked
    table, = documents((tmp_path / "table.yaml").read_text())
    assert (table["kind"], table["metadata"]) == ("Table", {"name": "music", "namespace": namespace})


def storage_node(name, image, manager="partita-operator", secured=True, replicas=1):
    """A StatefulSet, as far as the notes look at it."""
    arguments = ["replica"] + ["--peer-tls=/etc/partita/tls"] * secured
    return {"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app.kubernetes.io/managed-by": manager}},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "replica", "image": image, "args": arguments}]}}}}


def test_restarts_are_announced(notes, tmp_path):
    """An upgrade to another image says how many storage nodes restart, and how many of them at once."""
    def said(*sets):
        with api_server.serving([], tmp_path, sets) as kubeconfig:
            text = notes("--set-string", "image.tag=2", "--dry-run=server", env={"KUBECONFIG": str(kubeconfig)})
        return [line for line in text.splitlines() if "storage nodes" in line]

    current, former = storage_node("a", "localhost/partita:2"), storage_node("b", "localhost/partita:1")
    assert said() == said(current, storage_node("c", "other:1", manager="somebody")) == []
    announced, = said(current, former, storage_node("d", "localhost/partita:1", replicas=3))
    assert announced.startswith("4 storage nodes run another image and restart now, 1 at a time")


@pytest.mark.parametrize("enabled, word", [("true", "on"), ("false", "off")])
def test_a_change_of_mutual_tls_is_announced(enabled, word, notes, tmp_path):
    """All storage nodes restart at once then, whatever their image is."""
    sets = [storage_node(name, "localhost/partita:1", secured=enabled != "true") for name in "ab"]
    with api_server.serving([], tmp_path, sets) as kubeconfig:
        text = notes("--set", f"peerTls.enabled={enabled}", "--set-string", "image.tag=2", "--dry-run=server", env={"KUBECONFIG": str(kubeconfig)})
    announced, = [line for line in text.splitlines() if "restart now" in line]
    assert announced.startswith(f"Mutual TLS is turned {word}: all storage nodes (2 partitions)")


def test_the_table_is_valid(notes, validate):
    text = notes()
    process = validate(text[text.index("apiVersion:"):text.index("EOF\n", text.index("apiVersion:"))])
    assert process.returncode == 0, process.stdout
