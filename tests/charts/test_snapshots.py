"""What each set of values renders, word by word. `tests/charts/run --update` writes it anew; the difference is then for review."""

import os

from conftest import HERE, ROOT, case_text, rendered

DEFINITIONS = "# Source: partita/templates/crds.yaml\n"


def without_definitions(text):
    """The definitions have a test of their own, and would bury the rest."""
    return "---\n".join(part for part in text.split("---\n") if not part.startswith(DEFINITIONS))


def test_snapshot(case):
    text = without_definitions(case_text(case))
    path = HERE / "snapshots" / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.exists(), f"no {path}: tests/charts/run --update writes it"
    assert text == path.read_text(), "tests/charts/run --update, if this is what it should be"


PLAIN = ROOT / "charts" / "plain" / "partita.yaml"
PLAIN_HEAD = """\
# Partita without Helm: the chart with its default values, in the namespace partita. Generated (`make fix`); what can be set is in
# charts/partita/values.yaml. Apply it with `kubectl apply --server-side -f`, with the address of your image in it.
apiVersion: v1
kind: Namespace
metadata:
  name: partita
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def test_plain_manifests():
    """The chart for those who do not use Helm: nothing in it says that Helm manages it."""
    helms = ("# Source: ", "helm.sh/", "app.kubernetes.io/managed-by: Helm")
    lines = [line for line in rendered(namespace="partita").splitlines(keepends=True) if not line.strip().startswith(helms)]
    text = (PLAIN_HEAD + "".join(lines)).replace("  annotations:\n  labels:", "  labels:")
    if os.environ.get("UPDATE_GOLDEN"):
        PLAIN.write_text(text)
    assert text == PLAIN.read_text(), "tests/charts/run --update, if this is what it should be"


def test_plain_manifests_are_valid(validate):
    process = validate(PLAIN.read_text())
    assert process.returncode == 0 and "Skipped: 0" in process.stdout, process.stdout + process.stderr


def test_every_snapshot_has_its_values():
    assert {path.stem for path in (HERE / "snapshots").iterdir()} == {path.stem for path in (HERE / "cases").iterdir()}
