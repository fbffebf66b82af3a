//! A table that was made through the API has a resource that declares the same table.

#![allow(clippy::unwrap_used)]

use partita_crds::Table;
use partita_crds::convert::{Deployment, from_model, to_model};

#[test]
fn declaring_what_was_declared_gives_the_same_table() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut tables = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for document in text.split("\n---\n").filter(|text| text.contains("kind: Table")) {
            let table: Table = serde_yaml::from_str(document).unwrap();
            let spec = to_model(&table.spec).unwrap();
            let deployment = Deployment {
                replicas: 1,
                storage: None,
            };
            assert_eq!(to_model(&from_model(&spec, &deployment)).unwrap(), spec);
            tables += 1;
        }
    }
    assert!(tables >= 3, "{folder} holds tables");
}
