//! Bytes that are no head of a request, or one without end.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Result, ensure};
use partita_test_client::Server;

/// The server answers or closes at once; only a head that is still coming is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn attack(server: &Server) -> Result<()> {
    let long_header = format!("POST / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let many_headers = format!("POST / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(20_000));
    let long_path = format!("POST /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(1 << 20));
    let heads: [(&str, &[u8]); 12] = [
        ("nonsense", b"nonsense\r\n\r\n"),
        ("zeroes", &[0; 4096]),
        (
            "a TLS greeting",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/9.9", b"POST / HTTP/9.9\r\nhost: a\r\n\r\n"),
        (
            "a negative length",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        ),
        (
            "a length of words",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: many\r\n\r\n",
        ),
        (
            "two lengths",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        ),
        (
            "a broken chunk",
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ),
        ("a header of a megabyte", long_header.as_bytes()),
        ("20,000 headers", many_headers.as_bytes()),
        ("a path of a megabyte", long_path.as_bytes()),
    ];
    for (what, head) in heads {
        let mut connection = server.connect()?;
        connection.stream().set_read_timeout(Some(PATIENCE))?;
        // A server that closes while the rest is being sent has decided already.
        let _ = connection.send_raw(head);
        match connection.receive() {
            Ok(reply) => ensure!(
                (400..600).contains(&reply.status),
                "{what} is answered {}",
                reply.status
            ),
            Err(error) => ensure!(
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{what} is neither answered nor closed"
            ),
        }
    }
    Ok(())
}
