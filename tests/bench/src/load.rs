//! The load generator: one thread, one epoll, any number of keep-alive connections.
//!
//! 1. A [`Work`] writes the next signed request into a connection's buffer.
//! 2. Closed loop: each connection sends its next request when the last one is answered.
//!    Open loop: requests are due at a fixed rate; when no connection is free they wait, and their latency counts from
//!    the moment they were due (no coordinated omission).
//! 3. Every answer is checked for its status; latencies go into an HDR histogram.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

/// Nothing the generator waits for takes longer, not even a stalled peer's batch.
pub const LATENCY_LIMIT_NS: u64 = 60_000_000_000;
/// Room for one page of a Query at once.
const READ_CHUNK_BYTES: usize = 256 * 1024;
const EVENTS_PER_WAIT: usize = 128;

/// Makes requests and looks at answers.
pub trait Work {
    /// Appends the next request, head and body.
    fn next(&mut self, out: &mut Vec<u8>);

    /// How many items the answer served; an error ends the run.
    fn served(&mut self, body: &[u8]) -> Result<u64>;

    /// A whole answer with another status than 200; an error ends the run, as it does unless refusals are what is measured.
    fn refused(&mut self, answer: &[u8]) -> Result<()> {
        bail!("refused: {}", String::from_utf8_lossy(answer))
    }
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As soon as the last answer is there.
    Closed,
    /// So many a second, whatever the answers do.
    Open { per_second: f64 },
}

/// What came of it.
pub struct Outcome {
    pub requests: u64,
    pub items: u64,
    pub elapsed: Duration,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// Items a second.
    pub fn item_rate(&self) -> f64 {
        self.items as f64 / self.elapsed.as_secs_f64()
    }

    /// A percentile in microseconds.
    pub fn micros(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

struct Lane {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    inbox: Vec<u8>,
    /// When the request under way was sent (closed) or due (open).
    since: Option<Instant>,
}

/// A set of connections to one server.
pub struct Generator {
    epoll: RawFd,
    lanes: Vec<Lane>,
    chunk: Vec<u8>,
}

impl Generator {
    /// Connects.
    pub fn connect(address: SocketAddr, connections: usize) -> Result<Self> {
        // SAFETY: plain system calls on descriptors that this struct owns.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        ensure!(epoll >= 0, "epoll: {}", io::Error::last_os_error());
        let mut lanes = Vec::with_capacity(connections);
        for index in 0..connections {
            let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut event = libc::epoll_event {
                events: (libc::EPOLLIN) as u32,
                u64: index as u64,
            };
            // SAFETY: as above; `event` lives through the call.
            let added = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &mut event) };
            ensure!(added == 0, "epoll_ctl: {}", io::Error::last_os_error());
            lanes.push(Lane {
                stream,
                out: Vec::new(),
                sent: 0,
                inbox: Vec::new(),
                since: None,
            });
        }
        Ok(Generator {
            epoll,
            lanes,
            chunk: vec![0; READ_CHUNK_BYTES],
        })
    }

    /// Runs `work` for `duration` and waits for the last answers.
    pub fn run(&mut self, work: &mut dyn Work, pace: Pace, duration: Duration) -> Result<Outcome> {
        let mut latency = Histogram::<u64>::new_with_bounds(1, LATENCY_LIMIT_NS, 3)?;
        let (mut requests, mut items) = (0, 0);
        let began = Instant::now();
        let deadline = began + duration;
        let mut idle: VecDeque<usize> = (0..self.lanes.len()).collect();
        let mut due = began;
        let step = match pace {
            Pace::Closed => Duration::ZERO,
            Pace::Open { per_second } => Duration::from_secs_f64(1.0 / per_second),
        };
        let mut busy = 0;
        let mut last_answer = began;
        loop {
            let now = Instant::now();
            while now < deadline && !idle.is_empty() && due <= now {
                let Some(index) = idle.pop_front() else { break };
                let since = if step.is_zero() { Instant::now() } else { due };
                self.start(index, work, since)?;
                busy += 1;
                due = if step.is_zero() { due } else { due + step };
            }
            if busy == 0 && now >= deadline {
                break;
            }
            let until = if idle.is_empty() || now >= deadline {
                None
            } else {
                Some(due.saturating_duration_since(now))
            };
            for index in self.wait(until)? {
                let Some(body_length) = self.receive(index)? else {
                    continue;
                };
                let lane = &mut self.lanes[index];
                let start = lane.inbox.len() - body_length;
                if &lane.inbox[9..12] == b"200" {
                    items += work.served(&lane.inbox[start..])?;
                } else {
                    work.refused(&lane.inbox)?;
                }
                lane.inbox.clear();
                let now = Instant::now();
                if let Some(since) = lane.since.take() {
                    latency.record((now - since).as_nanos() as u64)?;
                }
                requests += 1;
                busy -= 1;
                last_answer = now;
                if step.is_zero() && now < deadline {
                    self.start(index, work, now)?;
                    busy += 1;
                } else {
                    idle.push_back(index);
                }
            }
        }
        Ok(Outcome {
            requests,
            items,
            elapsed: last_answer - began,
            latency,
        })
    }

    fn start(&mut self, index: usize, work: &mut dyn Work, since: Instant) -> Result<()> {
        let lane = &mut self.lanes[index];
        lane.out.clear();
        lane.sent = 0;
        work.next(&mut lane.out);
        lane.since = Some(since);
        self.flush(index)
    }

    /// Sends what is left; asks for writability when the socket is full.
    fn flush(&mut self, index: usize) -> Result<()> {
        let lane = &mut self.lanes[index];
        while lane.sent < lane.out.len() {
            match io::Write::write(&mut lane.stream, &lane.out[lane.sent..]) {
                Ok(count) => lane.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.watch(index, true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn watch(&mut self, index: usize, writable: bool) -> Result<()> {
        let events = libc::EPOLLIN | if writable { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: index as u64,
        };
        let fd = self.lanes[index].stream.as_raw_fd();
        // SAFETY: `event` lives through the call; both descriptors are ours.
        let changed = unsafe { libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_MOD, fd, &mut event) };
        ensure!(changed == 0, "epoll_ctl: {}", io::Error::last_os_error());
        Ok(())
    }

    /// The lanes with something to read; writable ones are flushed here.
    fn wait(&mut self, limit: Option<Duration>) -> Result<Vec<usize>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT];
        let limit = limit.unwrap_or(Duration::from_nanos(LATENCY_LIMIT_NS));
        let timeout = libc::timespec {
            tv_sec: limit.as_secs() as libc::time_t,
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        // SAFETY: the buffers live through the call; a null signal mask is allowed.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll,
                events.as_mut_ptr(),
                EVENTS_PER_WAIT as i32,
                &timeout as *const libc::timespec,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            ensure!(error.kind() == io::ErrorKind::Interrupted, "epoll_wait: {error}");
            return Ok(Vec::new());
        }
        if count == 0 && limit.as_nanos() as u64 == LATENCY_LIMIT_NS {
            bail!("no answer for a minute");
        }
        let mut ready = Vec::with_capacity(count as usize);
        for event in &events[..count as usize] {
            let index = event.u64 as usize;
            if event.events & libc::EPOLLOUT as u32 != 0 {
                self.watch(index, false)?;
                self.flush(index)?;
            }
            if event.events & !(libc::EPOLLOUT as u32) != 0 {
                ready.push(index);
            }
        }
        Ok(ready)
    }

    /// Reads what is there; the length of the body once the answer is whole.
    fn receive(&mut self, index: usize) -> Result<Option<usize>> {
        let lane = &mut self.lanes[index];
        loop {
            match io::Read::read(&mut lane.stream, &mut self.chunk) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => {
                    lane.inbox.extend_from_slice(&self.chunk[..count]);
                    if count < self.chunk.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let Some(head) = find(&lane.inbox, b"\r\n\r\n") else {
            return Ok(None);
        };
        let length = content_length(&lane.inbox[..head]).context("an answer without a content length")?;
        if lane.inbox.len() < head + 4 + length {
            return Ok(None);
        }
        ensure!(
            lane.inbox.len() == head + 4 + length,
            "more than one answer to one request"
        );
        Ok(Some(length))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and not used afterwards.
        unsafe { libc::close(self.epoll) };
    }
}

/// Where `needle` starts.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::work::{Kind, Requests};

    /// The null server in a thread of its own.
    fn null_server() -> SocketAddr {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                crate::null::serve_on(listener).await.unwrap();
            });
        });
        receiver.recv().unwrap()
    }

    #[test]
    fn a_closed_loop_counts_every_answer_once() {
        let address = null_server();
        let mut work = Requests::new(Kind::Get, 1000, &address.to_string(), 1);
        let mut generator = Generator::connect(address, 8).unwrap();
        let outcome = generator
            .run(&mut work, Pace::Closed, Duration::from_millis(200))
            .unwrap();
        assert!(outcome.requests > 100, "{} requests", outcome.requests);
        assert_eq!(outcome.requests, outcome.items);
        assert_eq!(outcome.requests, outcome.latency.len());
    }

    #[test]
    fn an_open_loop_keeps_its_rate() {
        let address = null_server();
        let mut work = Requests::new(Kind::Get, 1000, &address.to_string(), 1);
        let mut generator = Generator::connect(address, 8).unwrap();
        let pace = Pace::Open { per_second: 500.0 };
        let outcome = generator.run(&mut work, pace, Duration::from_millis(400)).unwrap();
        assert!((190..=210).contains(&outcome.requests), "{} requests", outcome.requests);
    }
}
