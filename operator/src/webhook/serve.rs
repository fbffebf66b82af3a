//! HTTPS for the API server: one path, with bounds on everything that somebody could send.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use kube::{Api, Client, ResourceExt};
use partita_crds::{Partition, Table, names};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::identity::Identity;
use super::review;
use crate::metrics::Metrics;

/// Where the API server asks.
pub const PATH: &str = "/tables";
/// Bytes of a review: it has the resource twice, and etcd takes no resource above 1.5 MiB.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Connections at once: an API server keeps a few.
const CONNECTIONS_MAX: usize = 128;
/// How long a handshake, and then a request's head, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection lives: whoever is left without requests is closed by it.
const CONNECTION_FOR: Duration = Duration::from_secs(300);
/// How long the table's Partitions are waited for; the API server waits for two seconds.
const PARTITIONS_WITHIN: Duration = Duration::from_secs(1);
/// Before the next connection is taken when the system had none to give.
const BREATH: Duration = Duration::from_millis(100);

/// What every review needs.
#[derive(Clone)]
pub struct Reviewer {
    /// The API server.
    pub client: Client,
    /// What tables ask of a cluster.
    pub settings: Arc<partita_planning::Settings>,
    /// Counts.
    pub metrics: Metrics,
}

/// Answers until the process ends.
pub async fn serve(listener: TcpListener, identity: Arc<Identity>, reviewer: Reviewer) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = match versions {
        Ok(builder) => builder.with_no_client_auth().with_cert_resolver(identity),
        Err(error) => {
            tracing::error!(%error, "the webhook cannot serve");
            return;
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let router = Router::new()
        .route(PATH, post(answer))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(reviewer);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection to the webhook could not be taken");
                sleep(BREATH).await;
                continue;
            }
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            // Whoever takes longer asks again.
            let _ = timeout(CONNECTION_FOR, talk(stream, &acceptor, router)).await;
            drop(place);
        });
    }
}

async fn talk(stream: TcpStream, acceptor: &TlsAcceptor, router: Router) {
    let stream = match timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake with the webhook failed");
            return;
        }
        Err(_) => return,
    };
    let connection = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new())
        .http1_only()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = connection {
        tracing::debug!(error, "a connection to the webhook ended");
    }
}

/// One review. What cannot be read is refused, which the API server takes for a webhook that is away.
async fn answer(
    State(reviewer): State<Reviewer>,
    Json(review): Json<AdmissionReview<Table>>,
) -> Result<Json<AdmissionReview<DynamicObject>>, StatusCode> {
    let request: AdmissionRequest<Table> = review.try_into().map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut response = AdmissionResponse::from(&request);
    let (refusal, warnings) = match &request.object {
        Some(new) => reviewer.review(request.old_object.as_ref(), new).await,
        None => (None, Vec::new()),
    };
    let outcome = match (&refusal, warnings.is_empty()) {
        (Some(_), _) => "refused",
        (None, true) => "silent",
        (None, false) => "warned",
    };
    if let Some(refusal) = refusal {
        response = response.deny(refusal);
    }
    reviewer.metrics.webhook_reviews.with_label_values(&[outcome]).inc();
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    Ok(Json(response.into_review()))
}

impl Reviewer {
    /// Why it is not allowed, if so, and what is to be said.
    async fn review(&self, old: Option<&Table>, new: &Table) -> (Option<String>, Vec<String>) {
        if review::is_the_same(old, new) {
            return (None, Vec::new());
        }
        let partitions = match old {
            Some(old) => self.partitions(old).await,
            None => Vec::new(),
        };
        let refusal = review::refusal(old, new, &partitions);
        (refusal, review::warnings(old, new, &partitions, &self.settings))
    }

    /// Of a table that is there. Its status is good enough if they cannot be had.
    async fn partitions(&self, table: &Table) -> Vec<Partition> {
        let namespace = table.namespace().unwrap_or_default();
        let partitions: Api<Partition> = Api::namespaced(self.client.clone(), &namespace);
        let of_table = ListParams::default().labels(&format!("{}={}", names::TABLE, table.name_any()));
        match timeout(PARTITIONS_WITHIN, partitions.list(&of_table)).await {
            Ok(Ok(found)) => found.items,
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    use prometheus::Registry;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::testing;
    use crate::testing::cluster::Cluster;
    use partita_tls::authority::{Authority, Issued, Validity};

    const NAME: &str = "partita-operator-webhook.partita.svc";

    /// A certificate, and whom to trust.
    struct Made {
        issued: Issued,
        authorities: String,
    }

    fn made() -> Made {
        let now = SystemTime::now();
        let validity = Validity {
            not_before: now - Duration::from_secs(60),
            not_after: now + Duration::from_secs(3600),
        };
        let authority = Authority::make(validity).unwrap();
        Made {
            issued: authority.issue(&[NAME.to_owned()], validity).unwrap(),
            authorities: authority.certificate().to_owned(),
        }
    }

    /// A webhook, and whom to trust.
    async fn begun(made: &Made) -> (std::net::SocketAddr, Arc<Identity>, Metrics) {
        begun_with(made, &Cluster::default()).await
    }

    async fn begun_with(made: &Made, cluster: &Cluster) -> (std::net::SocketAddr, Arc<Identity>, Metrics) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let identity = Arc::new(Identity::default());
        identity.take(&made.issued).unwrap();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let reviewer = Reviewer {
            client: cluster.client(),
            settings: Arc::default(),
            metrics: metrics.clone(),
        };
        tokio::spawn(serve(listener, Arc::clone(&identity), reviewer));
        (address, identity, metrics)
    }

    /// What the API server would do: a request over TLS that trusts these authorities. The whole answer, with its head.
    async fn ask(address: std::net::SocketAddr, authorities: &str, request: &str) -> std::io::Result<String> {
        let mut roots = rustls::RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(der.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await?;
        let mut stream = connector.connect(ServerName::try_from(NAME).unwrap(), stream).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        // Without a goodbye it is an answer all the same.
        let _ = stream.read_to_string(&mut answer).await;
        Ok(answer)
    }

    fn posted(path: &str, body: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: \
             {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn review(old: Option<Value>, new: &Value) -> String {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "the-uid",
                "kind": {"group": "partita.dev", "version": "v1alpha1", "kind": "Table"},
                "resource": {"group": "partita.dev", "version": "v1alpha1", "resource": "tables"},
                "name": "orders", "namespace": testing::NAMESPACE,
                "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
                "userInfo": {"username": "somebody"},
                "object": new, "oldObject": old, "dryRun": true,
            },
        })
        .to_string()
    }

    fn answered(answer: &str) -> Value {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    #[tokio::test]
    async fn a_new_table_is_allowed_with_what_it_will_occupy() {
        let made = made();
        let (address, _, metrics) = begun(&made).await;
        let body = review(None, &testing::table(4000, 1));
        let answer = ask(address, &made.authorities, &posted(PATH, &body)).await.unwrap();
        let answer = answered(&answer);
        assert_eq!(
            (&answer["kind"], &answer["response"]["uid"]),
            (&json!("AdmissionReview"), &json!("the-uid"))
        );
        assert_eq!(answer["response"]["allowed"], true);
        let warning = answer["response"]["warnings"][0].as_str().unwrap();
        assert!(
            warning.starts_with("Orders: 4 partitions, 1 partition of indexes, 4 pods, "),
            "{warning}"
        );
        assert_eq!(metrics.webhook_reviews.with_label_values(&["warned"]).get(), 1);
    }

    #[tokio::test]
    async fn room_for_what_is_stored_is_not_taken_away() {
        let made = made();
        let cluster = Cluster::default();
        cluster.put("partitions", testing::stored("orders-0", 6 << 30));
        let (address, _, metrics) = begun_with(&made, &cluster).await;
        let sized = |size: &str| {
            let mut table = testing::table(1000, 1);
            table["spec"]["storage"] = json!({"size": size});
            table
        };
        let body = review(Some(sized("80Gi")), &sized("5Gi"));
        let answer = answered(&ask(address, &made.authorities, &posted(PATH, &body)).await.unwrap());
        assert_eq!(answer["response"]["allowed"], false);
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("spec.storage.size: 5Gi is less than 6 GiB"),
            "{message}"
        );
        assert_eq!(metrics.webhook_reviews.with_label_values(&["refused"]).get(), 1);
    }

    #[tokio::test]
    async fn what_changes_nothing_is_allowed_without_a_word() {
        let made = made();
        let (address, _, metrics) = begun(&made).await;
        let table = testing::table(1000, 1);
        let body = review(Some(table.clone()), &table);
        let answer = answered(&ask(address, &made.authorities, &posted(PATH, &body)).await.unwrap());
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"].get("warnings"), None);
        assert_eq!(metrics.webhook_reviews.with_label_values(&["silent"]).get(), 1);
    }

    #[tokio::test]
    async fn what_is_no_review_is_refused_and_the_next_one_is_answered() {
        let made = made();
        let (address, _, _) = begun(&made).await;
        for (request, status) in [
            (posted(PATH, "{}"), "422"),
            (posted(PATH, "no JSON"), "400"),
            (posted("/other", "{}"), "404"),
            (posted(PATH, &"x".repeat(BODY_BYTES_MAX + 1)), "413"),
        ] {
            let answer = ask(address, &made.authorities, &request).await.unwrap_or_default();
            assert!(
                answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
        }
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let body = review(None, &testing::table(1, 1));
        answered(&ask(address, &made.authorities, &posted(PATH, &body)).await.unwrap());
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_served_from_the_next_connection_on() {
        let first = made();
        let (address, identity, _) = begun(&first).await;
        let body = posted(PATH, &review(None, &testing::table(1, 1)));
        let second = made();
        assert!(
            ask(address, &second.authorities, &body).await.is_err(),
            "another authority"
        );
        identity.take(&second.issued).unwrap();
        answered(&ask(address, &second.authorities, &body).await.unwrap());
        let broken = Issued {
            key: "x".to_owned(),
            ..first.issued
        };
        assert!(identity.take(&broken).is_err());
        answered(&ask(address, &second.authorities, &body).await.unwrap());
    }
}
