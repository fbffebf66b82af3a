//! Whom the API server trusts when it calls the webhook: the release's authorities, in the webhook's configuration.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use partita_crds::names::OPERATOR;
use serde_json::json;

/// The name of the only webhook in the configuration.
pub const WEBHOOK: &str = "tables.partita.dev";

/// Writes who is trusted into the configuration, if it says something else. Without a configuration nobody calls: the release is
/// on its way in or out.
pub async fn trust(client: &Client, configuration: &str, trusted: &str) -> kube::Result<()> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let Some(found) = api.get_opt(configuration).await? else {
        return Ok(());
    };
    let bundle = ByteString(trusted.as_bytes().to_vec());
    let ours = found.webhooks.iter().flatten().find(|webhook| webhook.name == WEBHOOK);
    if ours.is_none_or(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&bundle)) {
        return Ok(());
    }
    let patch = json!({"webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": bundle}}]});
    let by = PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    };
    api.patch(configuration, &by, &Patch::Strategic(patch)).await.map(drop)
}
