"""The chart's custom resource definitions are those of crds/yaml, kept when the release goes, and left out on request."""

import re
import shutil
import tarfile

import yaml

from conftest import CHART, ROOT, documents, of_kind, rendered, run

SOURCES = sorted((ROOT / "crds" / "yaml").glob("*.yaml"))


def test_they_are_those_of_the_repository():
    definitions = of_kind(documents(rendered()), "CustomResourceDefinition")
    for definition in definitions:
        assert definition["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert definition["metadata"].pop("labels")["app.kubernetes.io/name"] == "partita"
    assert definitions == [yaml.safe_load(path.read_text()) for path in SOURCES]


def test_a_package_has_them_too(tmp_path):
    process = run("helm", "package", "--destination", tmp_path, CHART)
    assert process.returncode == 0, process.stderr
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as package:
        packaged = {name: package.extractfile(name).read() for name in package.getnames() if name.startswith("partita/files/crds/")}
    assert packaged == {f"partita/files/crds/{path.name}": path.read_bytes() for path in SOURCES}


def test_helm_s_own_folder_is_not_used():
    assert not (CHART / "crds").exists(), "what is in crds/ is never upgraded"


def test_readers_of_older_yaml_read_the_same(tmp_path):
    """kubectl and Helm read YAML 1.1, in which a bare N is false: what they read is what the definitions mean."""
    chart = tmp_path / "reader"
    (chart / "templates").mkdir(parents=True)
    (chart / "files").mkdir()
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: reader, version: 0.0.0}\n")
    (chart / "templates" / "all.yaml").write_text('{{ range $path, $text := .Files.Glob "files/*" }}\n---\n{{ $text | toString | fromYaml | toJson }}\n{{ end }}')
    for path in SOURCES:
        shutil.copy(path, chart / "files")
    # JSON is YAML without ambiguities; and PyYAML takes a bare N for a string.
    assert documents(rendered(chart=chart)) == [yaml.safe_load(path.read_text()) for path in SOURCES]


def test_amounts_are_like_kubernetes_has_them():
    [tables] = [yaml.safe_load(path.read_text()) for path in SOURCES if path.name == "tables.yaml"]
    spec = tables["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    for parent, field in (("storage", "size"), ("storage", "maxSize"), ("scheduling", "cpu"), ("scheduling", "memory")):
        schema = spec[parent]["properties"][field]
        assert schema["x-kubernetes-int-or-string"] is True
        for amount in ("60Gi", "1.5", ".5", "100m", "2e3", "1E", "+1"):
            assert re.search(schema["pattern"], amount), f"{field}: {amount}"
        for wrong in ("60GB", "2 cores", "", "-1", "Gi", "1KiB", "1.2.3"):
            assert not re.search(schema["pattern"], wrong), f"{field}: {wrong}"
