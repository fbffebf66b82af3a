"""NOTES.txt ends in commands that a shell takes as they are."""

import json
import re
import shutil
import subprocess

import pytest

from conftest import CHART, documents, named, rendered


@pytest.fixture
def notes(tmp_path):
    """Renders NOTES.txt: as a text in a manifest, because helm prints it with a cluster alone."""
    chart = tmp_path / "partita"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "files" / "NOTES.txt")
    (chart / "templates" / "notes.yaml").write_text('kind: Notes\nmetadata: {name: notes}\ntext: {{ tpl (.Files.Get "files/NOTES.txt") . | quote }}\n')

    def notes(*arguments):
        return named(documents(rendered("--set", "crds.install=false", *arguments, chart=chart)), "Notes", "notes")["text"]

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


def test_the_table_is_valid(notes, validate):
    text = notes()
    process = validate(text[text.index("apiVersion:"):text.index("EOF\n", text.index("apiVersion:"))])
    assert process.returncode == 0, process.stdout
