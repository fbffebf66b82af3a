//! From a file's text to the Table resources in it.
//!
//! Documents of other kinds are left alone; a field that nobody knows is refused, so that a slip of the pen does not
//! pass for a default. What kubectl prints of several resources, a `List`, is as good as its items.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use partita_crds::{API_VERSION, GROUP, TableSpec, TableStatus};
use serde::{Deserialize, Deserializer};

/// The kind that this process knows.
const KIND: &str = "Table";
/// What kubectl makes of several resources.
const LIST: (&str, &str) = ("v1", "List");
/// What the API server assumes.
const NAMESPACE_DEFAULT: &str = "default";

/// One document that declares a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The resource's namespace, if it is written.
    pub namespace: Option<String>,
    /// The resource's name.
    pub name: String,
    /// What it declares.
    pub spec: TableSpec,
    /// What an operator said of it, in what `kubectl get -o yaml` prints. Nothing that is not understood.
    pub status: Option<TableStatus>,
}

impl Document {
    /// `namespace/name`.
    pub fn resource(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or(NAMESPACE_DEFAULT);
        format!("{namespace}/{}", self.name)
    }
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
    /// What `kubectl get -o yaml` prints.
    #[serde(default)]
    status: serde_json::Value,
}

/// Several resources.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<serde_yaml::Value>,
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
        if (head.api_version.as_str(), head.kind.as_str()) != LIST {
            if let Err(reason) = contents.add(head, body) {
                contents.wrong.push((number, reason));
            }
            continue;
        }
        match List::deserialize(body) {
            Ok(list) => contents.add_all(number, list.items),
            Err(error) => contents.wrong.push((number, error.to_string())),
        }
    }
    Ok(contents)
}

impl Contents {
    /// The items of a list.
    fn add_all(&mut self, number: usize, items: Vec<serde_yaml::Value>) {
        for (place, item) in items.into_iter().enumerate() {
            let added = match Head::deserialize(&item) {
                Ok(head) => self.add(head, item),
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = added {
                self.wrong.push((number, format!("items[{place}]: {reason}")));
            }
        }
    }

    /// One resource.
    fn add<'de, D>(&mut self, head: Head, body: D) -> Result<(), String>
    where
        D: Deserializer<'de>,
        D::Error: std::fmt::Display,
    {
        if head.kind != KIND || head.api_version.split('/').next() != Some(GROUP) {
            self.ignored.push(format!("{} {}", head.api_version, head.kind));
            return Ok(());
        }
        if head.api_version != API_VERSION {
            let version = head.api_version;
            return Err(format!("apiVersion: {version} is not known here, {API_VERSION} is"));
        }
        self.documents.push(document(body)?);
        Ok(())
    }
}

/// Whether the text itself is broken, and not just what it says: then nothing behind it can be trusted.
fn syntax(error: &serde_yaml::Error) -> bool {
    let text = error.to_string();
    !(text.contains("invalid type") || text.contains("missing field") || text.contains("duplicate"))
}

fn document<'de, D>(body: D) -> Result<Document, String>
where
    D: Deserializer<'de>,
    D::Error: std::fmt::Display,
{
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
    Ok(Document {
        namespace: manifest.metadata.namespace,
        name,
        spec: manifest.spec,
        status: serde_json::from_value(manifest.status).unwrap_or_default(),
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
        assert_eq!(contents.documents[0].resource(), "default/orders");
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
    fn a_list_is_as_good_as_its_items() {
        let item = |text: &str| text.replace('\n', "\n  ").trim_end().to_owned();
        let status = "status: {partitions: 3, conditions: []}\n";
        let text = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}\n- {}\n- {}\n",
            item(&format!("{ORDERS}{status}")),
            item(&ORDERS.replace("billingMode", "billingMood")),
            item("apiVersion: v1\nkind: Secret\n"),
        );
        let contents = parse(&text).unwrap();
        assert_eq!(
            contents.wrong,
            [(1, "items[1]: unknown field: spec.billingMood".to_owned())]
        );
        assert_eq!(contents.ignored, ["v1 Secret"]);
        assert_eq!(contents.documents[0].status.as_ref().unwrap().partitions, Some(3));
    }

    #[test]
    fn broken_yaml_is_refused_as_a_whole() {
        assert!(parse("kind: [").is_err());
        assert!(parse("kind: Table\n  bad: indent\n").is_err());
    }
}
