//! What all tables have in common: how storage nodes are run.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::cli::Options;

/// How storage nodes are run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Their image.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: String,
    /// With which Secrets.
    pub image_pull_secrets: Vec<String>,
    /// Where they learn about each other.
    pub router_directory: String,
    /// Whether they speak mutual TLS, with the certificates of their namespace.
    pub peer_tls: bool,
    /// The size of their volumes, where the Table names none.
    pub storage_size: Quantity,
    /// Format of their log.
    pub log_format: String,
    /// What they log.
    pub log: String,
}

impl From<&Options> for Settings {
    fn from(options: &Options) -> Self {
        Self {
            image: options.image.clone(),
            image_pull_policy: options.image_pull_policy.clone(),
            image_pull_secrets: options.image_pull_secrets.clone(),
            router_directory: options.router_directory.clone(),
            peer_tls: options.peer_tls,
            storage_size: Quantity(options.storage_size.clone()),
            log_format: options.log_format.name().to_owned(),
            log: options.log.clone(),
        }
    }
}
