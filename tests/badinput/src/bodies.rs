//! Bodies that are too long, half there, slow, promised and never sent, or that inflate without end.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use partita_test_client::{Connection, Server};

/// The server gives a body less than this.
const SLOW_LIMIT: Duration = Duration::from_secs(60);
const SLOW_CONNECTIONS: usize = 40;
const SLOW_STEP: Duration = Duration::from_millis(200);
/// Connections that promise a large body; together far more than the server has room for.
const PROMISES: usize = 200;
const PROMISED_BYTES: usize = 16 << 20;
const BOMB_BYTES: usize = 512 << 20;
const BOMBS: usize = 8;

fn head(headers: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-json-1.0\r\n\
         x-amz-target: DynamoDB_20120810.PutItem\r\nx-amz-date: 20260101T000000Z\r\nauthorization: AWS4-HMAC-SHA256 \
         Credential=a/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00\r\n{headers}\r\n"
    )
}

/// Longer than the 16 MB that DynamoDB takes; announced honestly, or in chunks.
pub fn too_long(server: &Server) -> Result<()> {
    let body = vec![b' '; 20 << 20];
    let mut connection = server.connect()?;
    match connection.call_bytes("PutItem", &body) {
        Ok(reply) => ensure!(
            (400..500).contains(&reply.status),
            "20 MB are answered {}",
            reply.status
        ),
        Err(error) => ensure!(!is_timeout(&error), "20 MB are neither answered nor refused"),
    }
    let mut connection = server.connect()?;
    connection.send_raw(head("transfer-encoding: chunked\r\n").as_bytes())?;
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..2048 {
        if connection.send_raw(&chunk).is_err() {
            return Ok(());
        }
    }
    Err(anyhow!("2 GB in chunks were taken"))
}

/// The client goes away in the middle, politely or not.
pub fn half_sent(server: &Server) -> Result<()> {
    let whole = head("content-length: 1000\r\n") + &" ".repeat(500);
    for length in (1..whole.len()).step_by(37) {
        let mut connection = server.connect()?;
        connection.send_raw(&whole.as_bytes()[..length])?;
        if length % 2 == 0 {
            reset(connection.stream())?;
        }
    }
    Ok(())
}

/// Makes closing a reset.
fn reset(stream: &std::net::TcpStream) -> Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value lives through the call and is as long as said.
    let set = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(stream),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as u32,
        )
    };
    ensure!(set == 0, "SO_LINGER: {}", std::io::Error::last_os_error());
    Ok(())
}

/// A few megabytes that inflate to gigabytes, several at once.
pub fn bombs(server: &Server) -> Result<()> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let block = vec![b' '; 1 << 20];
    for _ in 0..BOMB_BYTES / block.len() {
        encoder.write_all(&block)?;
    }
    let bomb = encoder.finish()?;
    let request = [
        head(&format!("content-encoding: gzip\r\ncontent-length: {}\r\n", bomb.len())).into_bytes(),
        bomb,
    ]
    .concat();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..BOMBS)
            .map(|_| scope.spawn(|| drop_bomb(server.address, &request)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

fn drop_bomb(address: SocketAddr, request: &[u8]) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let _ = connection.send_raw(request);
    match connection.receive() {
        Ok(reply) => ensure!(
            (400..500).contains(&reply.status),
            "a bomb is answered {}",
            reply.status
        ),
        Err(error) => ensure!(!is_timeout(&error), "a bomb is neither answered nor refused"),
    }
    Ok(())
}

/// Many connections announce large bodies and send nothing: that must take no room from those who send.
pub fn promised(server: &Server) -> Result<()> {
    let mut connections = Vec::new();
    for _ in 0..PROMISES {
        let mut connection = server.connect()?;
        connection.send_raw(head(&format!("content-length: {PROMISED_BYTES}\r\n")).as_bytes())?;
        connection.send_raw(b"{")?;
        connections.push(connection);
    }
    let began = Instant::now();
    let body = format!(
        r#"{{"TableName":"{}","Item":{{"pk":{{"S":"big"}},"v":{{"S":"{}"}}}}}}"#,
        crate::TABLE,
        "x".repeat(300_000)
    );
    let reply = server.connect()?.call_bytes("PutItem", body.as_bytes())?;
    ensure!(
        reply.status == 200,
        "a large item is refused meanwhile: {}",
        String::from_utf8_lossy(&reply.body)
    );
    ensure!(
        began.elapsed() < Duration::from_secs(3),
        "a large item waits {:?} meanwhile",
        began.elapsed()
    );
    Ok(())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Connections that send a byte now and then, from the beginning to the end of all attacks.
pub struct Slow {
    stop: Arc<AtomicBool>,
    began: Instant,
    thread: JoinHandle<usize>,
}

impl Slow {
    pub fn start(server: &Server) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..SLOW_CONNECTIONS {
            let mut connection = server.connect()?;
            connection.send_raw(head("content-length: 100000\r\n").as_bytes())?;
            connections.push(connection);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) && !connections.is_empty() {
                std::thread::sleep(SLOW_STEP);
                connections.retain_mut(|connection| connection.send_raw(b" ").is_ok());
            }
            connections.len()
        });
        Ok(Slow {
            stop,
            began: Instant::now(),
            thread,
        })
    }

    /// All must have been closed by now, or within the limit.
    pub fn end(self) -> Result<()> {
        while !self.thread.is_finished() && self.began.elapsed() < SLOW_LIMIT {
            std::thread::sleep(SLOW_STEP);
        }
        self.stop.store(true, Ordering::Relaxed);
        let left = self.thread.join().map_err(|_| anyhow!("the slow senders panicked"))?;
        ensure!(
            left == 0,
            "{left} of {SLOW_CONNECTIONS} slow bodies are still waited for after {SLOW_LIMIT:?}"
        );
        println!(
            "badinput: slow bodies: all closed after {:.0} s at most",
            self.began.elapsed().as_secs_f64()
        );
        Ok(())
    }
}
