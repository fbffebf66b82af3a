//! A server on loopback and a client that sends what it is told, byte for byte.

use std::net::SocketAddr;
use std::sync::Arc;

use partita_gateway::auth::Auth;
use partita_gateway::backend::Account;
use partita_gateway::http::{App, Limits, serve};
use partita_gateway::metrics::Metrics;
use prometheus::Registry;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake::Fake;

/// Good enough where signatures are not verified.
pub const SIGNATURE: &str =
    "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";

pub struct Server {
    pub address: SocketAddr,
    pub backend: Arc<Fake>,
    pub registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let backend = Arc::new(Fake::default());
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::register(&registry).unwrap());
        let account = Account::new("000000000000");
        let app = App::new(backend.clone(), "us-east-1", Auth::Open(account), metrics, limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, Arc::new(app), async {
            let _ = stopped.await;
        }));
        Self {
            address,
            backend,
            registry,
            stop: Some(stop),
            serving,
        }
    }

    pub async fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// One call of the API on a connection of its own.
    pub async fn call(&self, operation: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let mut connection = self.connect().await;
        connection
            .write_all(&request(operation, body.as_bytes(), &[]))
            .await
            .unwrap();
        read(&mut connection).await.unwrap()
    }

    /// A call that must succeed.
    pub async fn done(&self, operation: &str, body: &Value) -> Value {
        let answer = self.call(operation, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        if answer.body.is_empty() {
            Value::Null
        } else {
            answer.json()
        }
    }

    /// A call that must fail: the error's type without its namespace, and its message.
    pub async fn failed(&self, operation: &str, body: &Value) -> (String, String) {
        let answer = self.call(operation, body).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        let error = answer.json();
        let kind = error["__type"]
            .as_str()
            .unwrap()
            .split('#')
            .next_back()
            .unwrap()
            .to_owned();
        let message = error
            .get("message")
            .or(error.get("Message"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        (kind, message.to_owned())
    }

    /// A request's bytes as they are.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut connection = self.connect().await;
        connection.write_all(bytes).await.unwrap();
        read(&mut connection).await.unwrap()
    }

    pub fn begin_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    pub async fn stopped(self) {
        self.serving.await.unwrap().unwrap();
    }
}

/// A signed `POST /` with JSON's content type.
pub fn request(operation: &str, body: &[u8], more: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: \
         DynamoDB_20120810.{operation}\r\nX-Amz-Date: 20260101T000000Z\r\nAuthorization: {SIGNATURE}\r\n\
         Content-Length: {}\r\n",
        body.len()
    );
    for (name, value) in more {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// Reads an answer; `None` when the connection was closed before one.
pub async fn read(connection: &mut BufReader<TcpStream>) -> Option<Answer> {
    let mut line = String::new();
    connection.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        connection.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    connection.read_exact(&mut body).await.unwrap();
    Some(Answer { status, headers, body })
}
