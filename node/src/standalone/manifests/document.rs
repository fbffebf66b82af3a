//! From a file's text to the Table resources in it.
//!
//! Documents of other kinds are left alone; a field that nobody knows is refused, so that a slip of the pen does not
//! pass for a default.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use partita_crds::{API_VERSION, GROUP, TableSpec};
use serde::Deserialize;

/// The kind that this process knows.
const KIND: &str = "Table";
/// What the API server assumes.
const NAMESPACE_DEFAULT: &str = "default";

/// One document that declares a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// `namespace/name`.
    pub resource: String,
    /// What it declares.
    pub spec: TableSpec,
}

/// What was found in a file.
#[derive(Debug, Default)]
pub struct Contents {
    /// Tables.
    pub documents: Vec<Document>,
    /// Documents that are wrong: which (counted from 1), and why.
    pub wrong: Vec<(usize, String)>,
    /// Documents of other kinds.
    pub ignored: Vec<String>,
}

/// What every resource begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

/// A Table resource as a person writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: ObjectMeta,
    spec: TableSpec,
    /// What `kubectl get -o yaml` prints; not read.
    #[serde(default, rename = "status")]
    _status: serde::de::IgnoredAny,
}

/// Reads a file's documents. A file that is not YAML has nothing that can be used: the error names the place.
pub fn parse(text: &str) -> Result<Contents, String> {
    let mut contents = Contents::default();
    let heads = serde_yaml::Deserializer::from_str(text);
    let bodies = serde_yaml::Deserializer::from_str(text);
    for (place, (head, body)) in heads.zip(bodies).enumerate() {
        let number = place + 1;
        let head = match Option::<Head>::deserialize(head) {
            Ok(Some(head)) => head,
            // Nothing between two `---`.
            Ok(None) => continue,
            Err(error) if error.location().is_none() || syntax(&error) => return Err(error.to_string()),
            Err(error) => {
                contents.wrong.push((number, error.to_string()));
                continue;
            }
        };
        if head.kind != KIND || head.api_version.split('/').next() != Some(GROUP) {
            contents.ignored.push(format!("{} {}", head.api_version, head.kind));
        } else if head.api_version != API_VERSION {
            let known = format!("apiVersion: {} is not known here, {API_VERSION} is", head.api_version);
            contents.wrong.push((number, known));
        } else {
            match document(body) {
                Ok(document) => contents.documents.push(document),
                Err(reason) => contents.wrong.push((number, reason)),
            }
        }
    }
    Ok(contents)
}

/// Whether the text itself is broken, and not just what it says: then nothing behind it can be trusted.
fn syntax(error: &serde_yaml::Error) -> bool {
    let text = error.to_string();
    !(text.contains("invalid type") || text.contains("missing field") || text.contains("duplicate"))
}

fn document(body: serde_yaml::Deserializer<'_>) -> Result<Document, String> {
    let mut unknown = Vec::new();
    let manifest: Manifest =
        serde_ignored::deserialize(body, |path| unknown.push(path.to_string())).map_err(|error| error.to_string())?;
    // The status and the metadata are Kubernetes's, and grow with it.
    unknown.retain(|path| !path.starts_with("status") && !path.starts_with("metadata"));
    if !unknown.is_empty() {
        return Err(format!(
            "unknown field{}: {}",
            if unknown.len() > 1 { "s" } else { "" },
            unknown.join(", ")
        ));
    }
    let name = manifest.metadata.name.ok_or("metadata.name: missing")?;
    let namespace = manifest
        .metadata
        .namespace
        .unwrap_or_else(|| NAMESPACE_DEFAULT.to_owned());
    Ok(Document {
        resource: format!("{namespace}/{name}"),
        spec: manifest.spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: &str = "apiVersion: partita.dev/v1alpha1
kind: Table
metadata:
  name: orders
spec:
  tableName: orders
  billingMode: PAY_PER_REQUEST
  attributeDefinitions:
    - {attributeName: id, attributeType: S}
  keySchema:
    - {attributeName: id, keyType: HASH}
";

    #[test]
    fn documents_of_other_kinds_are_left_alone() {
        let text = format!("apiVersion: v1\nkind: ConfigMap\ndata: {{}}\n---\n---\n{ORDERS}");
        let contents = parse(&text).unwrap();
        assert_eq!(contents.ignored, ["v1 ConfigMap"]);
        assert_eq!(contents.wrong, []);
        assert_eq!(contents.documents[0].resource, "default/orders");
    }

    #[test]
    fn unknown_fields_are_named() {
        let text = ORDERS.replace("billingMode", "billingMood");
        assert_eq!(
            parse(&text).unwrap().wrong,
            [(1, "unknown field: spec.billingMood".to_owned())]
        );
        let text = ORDERS.replace("attributeType: S", "attributeType: S, kind: x");
        assert_eq!(
            parse(&text).unwrap().wrong,
            [(1, "unknown field: spec.attributeDefinitions.0.kind".to_owned())]
        );
    }

    #[test]
    fn wrong_values_are_named_with_their_place() {
        let text = ORDERS.replace("attributeType: S", "attributeType: X");
        let wrong = &parse(&text).unwrap().wrong[0].1;
        assert!(
            wrong.contains("unknown variant `X`") && wrong.contains("line 9"),
            "{wrong}"
        );
        let text = ORDERS.replace("v1alpha1", "v2");
        assert_eq!(parse(&text).unwrap().wrong[0].0, 1);
    }

    #[test]
    fn a_wrong_document_does_not_hide_the_next() {
        let text = format!("{}---\n{ORDERS}", ORDERS.replace("tableName: orders", "tableName: [1]"));
        let contents = parse(&text).unwrap();
        assert_eq!((contents.wrong.len(), contents.documents.len()), (1, 1));
    }

    #[test]
    fn broken_yaml_is_refused_as_a_whole() {
        assert!(parse("kind: [").is_err());
        assert!(parse("kind: Table\n  bad: indent\n").is_err());
    }
}
