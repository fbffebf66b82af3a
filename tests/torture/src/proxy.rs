//! The network between replicas: a proxy in front of each, whose address the others are told. What passes from one replica to another
//! can be held up, in one direction or both, as if packets were lost; when it goes on, so does what was held up.
//!
//! Who opened a connection is looked up in /proc: the proxy knows its replicas by their process ids. Others (the router, the operator)
//! are never held up.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// Between two looks at whether a link is there again.
const LOOK: Duration = Duration::from_millis(5);

/// Which links are down.
#[derive(Default)]
pub struct Network {
    /// Pairs (from, to) of replicas between which nothing passes.
    cut: Mutex<HashSet<(usize, usize)>>,
    /// The replicas' processes, by place.
    pids: Mutex<Vec<u32>>,
    /// Bytes that replicas have sent to each other.
    passed: AtomicU64,
    ended: AtomicBool,
}

impl Network {
    /// From now on the replica at that place is this process.
    pub fn runs(&self, place: usize, pid: u32) {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        if pids.len() <= place {
            pids.resize(place + 1, 0);
        }
        pids[place] = pid;
    }

    /// Nothing passes from one to the other.
    pub fn cut(&self, from: usize, to: usize) {
        self.cut
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((from, to));
    }

    /// All links are there again.
    pub fn join(&self) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Bytes that replicas have sent to each other.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Nothing goes on any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn is_cut(&self, link: (usize, usize)) -> bool {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).contains(&link)
    }

    /// Puts a proxy in front of the replica at that place; its address.
    pub fn stand_before(self: &Arc<Self>, place: usize, target: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let network = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if network.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), network) = (stream, Arc::clone(&network)) else {
                    continue;
                };
                std::thread::spawn(move || network.connect(stream, place, target));
            }
        });
        Ok(address)
    }

    fn connect(self: Arc<Self>, caller: TcpStream, place: usize, target: SocketAddr) {
        let from = caller.peer_addr().ok().and_then(|peer| self.place_of(peer));
        let Ok(callee) = TcpStream::connect(target) else { return };
        let (Ok(back), Ok(forth)) = (callee.try_clone(), caller.try_clone()) else {
            return;
        };
        let _ = (caller.set_nodelay(true), callee.set_nodelay(true));
        let network = Arc::clone(&self);
        std::thread::spawn(move || network.copy(back, forth, from.map(|from| (place, from))));
        self.copy(caller, callee, from.map(|from| (from, place)));
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, link: Option<(usize, usize)>) {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            while link.is_some_and(|link| self.is_cut(link)) && !self.ended.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
            if link.is_some() {
                self.passed.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// The replica that opened a connection from this address.
    fn place_of(&self, peer: SocketAddr) -> Option<usize> {
        let SocketAddr::V4(peer) = peer else { return None };
        // The table has addresses in the machine's order of bytes.
        let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(peer.ip().octets()), peer.port());
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let inode = row
            .filter(|row| row.len() > 9 && row[1] == local)
            .map(|row| row[9].to_owned())
            .next()?;
        let socket = format!("socket:[{inode}]");
        let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pids.iter().position(|pid| {
            let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
                return false;
            };
            descriptors.flatten().any(|descriptor| {
                fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == socket.as_str())
            })
        })
    }
}
