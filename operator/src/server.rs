//! The API server, of which nothing is awaited without a bound: a connection that has gone dead without a word would keep a request
//! waiting for ever, and with it the first list of a watch, and with that every Table.

use std::time::Duration;

use anyhow::Context as _;
use kube::runtime::watcher;
use kube::{Client, Config};

/// How long it may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long it may say nothing, to a request or on a watch.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// A watch that has nothing to tell ends well before that, and goes on where it was.
const WATCH_S: u32 = 30;

/// A client of the API server that the environment names.
pub async fn client() -> anyhow::Result<Client> {
    let config = Config::infer().await.context("the Kubernetes API")?;
    bounded(config, SILENCE_MAX).context("the Kubernetes API")
}

fn bounded(mut config: Config, silence_max: Duration) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT_MAX);
    config.read_timeout = Some(silence_max);
    // From the request on, and not since a connection that is kept was last used.
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// What a watch is begun with.
pub fn watched() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_S)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use kube::Api;
    use partita_crds::Table;

    use super::*;

    #[tokio::test]
    async fn a_server_that_never_answers_is_given_up() {
        // Connections are accepted by the kernel, and by nobody else.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let client = bounded(Config::new(url.parse().unwrap()), Duration::from_millis(50)).unwrap();
        let tables = Api::<Table>::all(client);
        assert!(tables.list(&Default::default()).await.is_err());
    }
}
