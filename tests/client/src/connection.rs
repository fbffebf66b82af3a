//! One keep-alive connection, blocking. An error means that the fate of the request is unknown.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::sign::Signer;

/// Longer than anything a test waits for on purpose.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The error's short name (`ValidationException`), empty for a success.
    pub fn error_name(&self) -> String {
        if self.status == 200 {
            return String::new();
        }
        let json = self.json();
        let name = json["__type"].as_str().unwrap_or("");
        name.rsplit('#').next().unwrap_or("").to_owned()
    }

    /// The error's text, whichever way the member is spelt.
    pub fn error_message(&self) -> String {
        let json = self.json();
        json["message"]
            .as_str()
            .or(json["Message"].as_str())
            .unwrap_or("")
            .to_owned()
    }
}

/// A connection with an identity.
pub struct Connection {
    stream: TcpStream,
    signer: Signer,
    out: Vec<u8>,
    inbox: Vec<u8>,
}

impl Connection {
    /// Connects with the identity `AKIDTEST` / `secret`, which a server without credentials accepts.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::open_as(address, "AKIDTEST", "secret")
    }

    /// Connects with an identity.
    pub fn open_as(address: SocketAddr, access_key: &str, secret: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let signer = Signer::new(access_key, secret, "us-east-1", &address.to_string());
        Ok(Connection {
            stream,
            signer,
            out: Vec::new(),
            inbox: Vec::new(),
        })
    }

    /// One operation: `call("GetItem", &json!({...}))`.
    pub fn call(&mut self, operation: &str, body: &Value) -> io::Result<Reply> {
        self.call_bytes(operation, body.to_string().as_bytes())
    }

    /// One operation whose body is given as bytes, for bodies that are no JSON.
    pub fn call_bytes(&mut self, operation: &str, body: &[u8]) -> io::Result<Reply> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        self.signer.request(&mut out, operation, body);
        let sent = self.stream.write_all(&out);
        self.out = out;
        sent?;
        self.receive()
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The underlying socket, for timeouts and half-closing.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads one answer.
    pub fn receive(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, used)) = parse(&self.inbox)? {
                self.inbox.drain(..used);
                if reply.status != 100 {
                    return Ok(reply);
                }
                continue;
            }
            let mut chunk = [0; 16 * 1024];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "closed before a whole answer",
                ));
            }
            self.inbox.extend_from_slice(&chunk[..count]);
        }
    }
}

/// A whole answer at the start of `bytes`, and its length. Answers carry a content length: chunked ones are refused.
fn parse(bytes: &[u8]) -> io::Result<Option<(Reply, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| bad("head is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| bad("no status line"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    if headers.iter().any(|(name, _)| name == "transfer-encoding") {
        return Err(bad("chunked answer"));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length
        .map_or(Ok(0), |(_, value)| value.parse())
        .map_err(|_| bad("content-length"))?;
    let start = end + 4;
    if bytes.len() < start + length {
        return Ok(None);
    }
    Ok(Some((
        Reply {
            status,
            headers,
            body: bytes[start..start + length].to_vec(),
        },
        start + length,
    )))
}
