//! `partita plan`: what Table manifests would occupy on a cluster, and what a change of them would. Nothing is written anywhere.
//!
//! 1. [`sources`] reads the manifests, and the tables as they are: from a file, or from the API server;
//! 2. [`partita_planning::forecast`] compares them, table by table;
//! 3. [`print`] shows it to people or to programs.

mod print;
mod sources;

use std::io::Write;
use std::process::ExitCode;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_planning::Settings;
use partita_planning::forecast::{Forecast, forecast};
use partita_planning::prices::Prices;
use partita_planning::requests::Formula;

use crate::cli::{Output, Plan};

/// A table of a file.
pub struct Planned {
    /// `namespace/name` of its resource.
    pub resource: String,
    /// What becomes of it.
    pub forecast: Forecast,
}

/// Prints a plan, or everything that is wrong with the files.
pub fn run(options: &Plan) -> ExitCode {
    let text = plan(options).map(|planned| match options.output {
        Output::Table => print::table(&planned, &prices(options)),
        Output::Json => print::json(&planned, &prices(options)),
    });
    match text {
        // Nobody reads on: then nothing is lost.
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(problems) => {
            for problem in problems {
                eprintln!("error: {problem}");
            }
            ExitCode::FAILURE
        }
    }
}

fn plan(options: &Plan) -> Result<Vec<Planned>, Vec<String>> {
    let manifests = sources::manifests(&options.file)?;
    let current = match &options.current {
        Some(source) => sources::current(source, &manifests, &options.limits())?,
        None => manifests.iter().map(|_| None).collect(),
    };
    let settings = Settings {
        formula: Formula {
            cpu: options.pod_cpu,
            memory: options.pod_memory,
        },
        storage_size: Quantity(options.storage_size.clone()),
        limits: options.limits(),
    };
    let mut planned = Vec::with_capacity(manifests.len());
    let mut problems = Vec::new();
    for (manifest, current) in manifests.iter().zip(&current) {
        let resource = manifest.document.resource();
        match forecast(current.as_ref(), &manifest.document.spec, &settings) {
            Ok(forecast) => planned.push(Planned { resource, forecast }),
            Err(error) => problems.push(format!("{}: {resource}: spec.{error}", manifest.file)),
        }
    }
    if problems.is_empty() {
        Ok(planned)
    } else {
        Err(problems)
    }
}

fn prices(options: &Plan) -> Prices {
    Prices {
        cpu: options.price_cpu,
        memory_gib: options.price_memory_gib,
        storage_gib: options.price_storage_gib,
    }
}
