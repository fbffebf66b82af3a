"""The chart's custom resource definitions are those of crds/yaml, kept when the release goes, and left out on request."""

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
