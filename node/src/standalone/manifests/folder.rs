//! What a folder of manifests declares.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use partita_crds::convert;
use partita_crds::table::DeletionPolicy;
use partita_model::table::TableSpec;
use partita_model::table::record::Declared;

use super::Problem;
use crate::manifest::{self, Contents};

/// Bytes of a manifest: a Table with every list full is a fraction of it.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A table that a manifest declares.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Where, and what becomes of the table without it.
    pub declared: Declared,
    /// What it is to be.
    pub spec: TableSpec,
    /// The id of the table to take over.
    pub adopt: Option<String>,
    /// Leave the table as it is.
    pub paused: bool,
}

/// What a folder declares.
#[derive(Debug, Default)]
pub struct Folder {
    /// Tables, by name.
    pub declarations: BTreeMap<String, Declaration>,
    /// What cannot be followed.
    pub problems: Vec<Problem>,
    /// Files that could not be read to their end: what they declared before may still be declared.
    pub unreadable: Vec<String>,
    /// Resources whose document is wrong: they are still declared.
    pub wrong: Vec<String>,
}

/// Reads a folder's `*.yaml` and `*.yml`, in the order of their names. Of two manifests for one table the first has it.
pub fn read(folder: &Path) -> std::io::Result<Folder> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Editors keep their own files beside the real ones, with a dot in front.
        if !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml")) {
            names.push(name);
        }
    }
    names.sort();
    let mut found = Folder::default();
    for file in names {
        let parsed = text(&folder.join(&file)).and_then(|text| manifest::parse(&text));
        match parsed {
            Ok(contents) => found.add(&file, contents),
            Err(reason) => {
                found.unreadable.push(file.clone());
                found.problems.push(Problem {
                    file,
                    resource: "the whole file".to_owned(),
                    reason,
                });
            }
        }
    }
    Ok(found)
}

fn text(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!(
            "{size} bytes are too many for a manifest ({FILE_BYTES_MAX} at most)"
        ));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

impl Folder {
    fn add(&mut self, file: &str, contents: Contents) {
        for kind in contents.ignored {
            tracing::debug!(file, kind, "left alone: not a Table");
        }
        for (number, reason) in contents.wrong {
            self.unreadable.push(file.to_owned());
            self.problem(file, &format!("document {number}"), reason);
        }
        for document in contents.documents {
            let resource = document.resource();
            if document.spec.has_ranges() {
                let reason = "spec.autoscaling: units do not follow the use in standalone; remove it, and give them in \
                              spec.provisionedThroughput";
                self.problem(file, &resource, reason.to_owned());
                self.wrong.push(resource);
                continue;
            }
            let spec = match convert::to_model(&document.spec) {
                Ok(spec) => spec,
                Err(error) => {
                    self.problem(file, &resource, format!("spec.{error}"));
                    self.wrong.push(resource);
                    continue;
                }
            };
            if let Some(other) = self.declarations.get(&spec.name) {
                let reason = format!(
                    "spec.tableName: {} is declared by {} already",
                    spec.name, other.declared.file
                );
                self.problem(file, &resource, reason);
                continue;
            }
            let twice = self
                .declarations
                .values()
                .find(|other| other.declared.resource == resource);
            if let Some(other) = twice {
                let reason = format!(
                    "metadata.name: {} has a Table of this name already",
                    other.declared.file
                );
                self.problem(file, &resource, reason);
                continue;
            }
            let declaration = Declaration {
                declared: Declared {
                    file: file.to_owned(),
                    resource,
                    delete_with_manifest: document.spec.deletion_policy == DeletionPolicy::Delete,
                },
                adopt: document.spec.bootstrap.and_then(|bootstrap| bootstrap.adopt),
                paused: document.spec.paused,
                spec,
            };
            self.declarations.insert(declaration.spec.name.clone(), declaration);
        }
    }

    fn problem(&mut self, file: &str, resource: &str, reason: String) {
        self.problems.push(Problem {
            file: file.to_owned(),
            resource: resource.to_owned(),
            reason,
        });
    }

    /// Whether a resource that was in a file may still be declared there (or somewhere else).
    pub fn may_declare(&self, declared: &Declared) -> bool {
        self.unreadable.contains(&declared.file)
            || self.wrong.contains(&declared.resource)
            || self
                .declarations
                .values()
                .any(|other| other.declared.resource == declared.resource)
    }
}
