//! The canonical request: method, path, query, signed headers and payload hash, one per line, hashed as it is made.

use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::key::hex64;

/// What the client puts in the payload's place when it does not sign it.
const UNSIGNED_PAYLOAD: &[u8] = b"UNSIGNED-PAYLOAD";

/// The payload's line of the canonical request.
pub(super) enum PayloadHash {
    Hex([u8; 64]),
    Unsigned,
}

impl PayloadHash {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Hex(hex) => hex,
            Self::Unsigned => UNSIGNED_PAYLOAD,
        }
    }
}

/// The hash of the body; `None` when the client states another one in `x-amz-content-sha256`.
pub(super) fn payload_hash(headers: &HeaderMap, body: &[u8]) -> Option<PayloadHash> {
    let stated = headers.get("x-amz-content-sha256").map(|value| value.as_bytes());
    if stated == Some(UNSIGNED_PAYLOAD) {
        return Some(PayloadHash::Unsigned);
    }
    let computed = hex64(&Sha256::digest(body).into());
    match stated {
        Some(stated) if !stated.eq_ignore_ascii_case(&computed) => None,
        _ => Some(PayloadHash::Hex(computed)),
    }
}

/// The canonical request's SHA-256 in hex; `None` when a signed header is not there.
pub(super) fn request_hash(head: &Parts, signed_headers: &str, payload: &PayloadHash) -> Option<[u8; 64]> {
    let mut hash = Sha256::new();
    hash.update(head.method.as_str());
    hash.update(b"\n");
    hash.update(canonical_path(head.uri.path()).as_bytes());
    hash.update(b"\n");
    hash_query(&mut hash, head.uri.query().unwrap_or(""));
    hash.update(b"\n");
    for name in signed_headers.split(';') {
        hash_header(&mut hash, &head.headers, name)?;
    }
    hash.update(b"\n");
    hash.update(signed_headers);
    hash.update(b"\n");
    hash.update(payload.as_bytes());
    Some(hex64(&hash.finalize().into()))
}

/// Path segments are encoded once more, as every service but S3 does it. `/` stays itself.
fn canonical_path(path: &str) -> String {
    if path.is_empty() || path == "/" {
        return "/".to_owned();
    }
    let mut encoded = String::with_capacity(path.len() + 8);
    for byte in path.bytes() {
        if byte == b'/' {
            encoded.push('/');
        } else {
            push_encoded(&mut encoded, byte);
        }
    }
    encoded
}

/// Parameters sorted by name, then by value; what is encoded already stays as it is.
fn hash_query(hash: &mut Sha256, query: &str) {
    if query.is_empty() {
        return;
    }
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    for (place, (name, value)) in pairs.into_iter().enumerate() {
        if place > 0 {
            hash.update(b"&");
        }
        hash.update(name);
        hash.update(b"=");
        hash.update(value);
    }
}

/// `name:value\n`: outer blanks cut, inner ones merged, several values joined by commas.
fn hash_header(hash: &mut Sha256, headers: &HeaderMap, name: &str) -> Option<()> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    hash.update(name);
    hash.update(b":");
    for (place, value) in values.enumerate() {
        if place > 0 {
            hash.update(b",");
        }
        hash_trimmed(hash, value.as_bytes());
    }
    hash.update(b"\n");
    Some(())
}

fn hash_trimmed(hash: &mut Sha256, value: &[u8]) {
    let value = value.trim_ascii();
    if !value.windows(2).any(|pair| pair == b"  ") {
        hash.update(value);
        return;
    }
    let mut merged = Vec::with_capacity(value.len());
    for &byte in value {
        if byte != b' ' || merged.last() != Some(&b' ') {
            merged.push(byte);
        }
    }
    hash.update(merged);
}

fn push_encoded(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
        text.push(char::from(byte));
    } else {
        text.push('%');
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}
