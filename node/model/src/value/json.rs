//! Values as DynamoDB JSON, straight from stored bytes: `{"S":"text"}`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{LEVELS_MAX, Tag, ValueRef};
use crate::number;

impl ValueRef<'_> {
    /// Appends the value.
    pub fn write_json(self, out: &mut Vec<u8>) {
        write_value(self, out, LEVELS_MAX);
    }
}

/// Appends one value with its type. Below `levels` levels lists and maps come out empty: no valid value has them.
fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>, levels: usize) {
    let below = levels.saturating_sub(1);
    let elements_max = if below == 0 { 0 } else { usize::MAX };
    let payload = value.payload();
    match value.tag {
        Tag::String => {
            out.extend_from_slice(b"{\"S\":");
            write_string(payload, out);
        }
        Tag::Number => {
            out.extend_from_slice(b"{\"N\":");
            write_number(payload, out);
        }
        Tag::Binary => {
            out.extend_from_slice(b"{\"B\":");
            write_base64(payload, out);
        }
        Tag::False => out.extend_from_slice(b"{\"BOOL\":false"),
        Tag::True => out.extend_from_slice(b"{\"BOOL\":true"),
        Tag::Null => out.extend_from_slice(b"{\"NULL\":true"),
        Tag::List => {
            out.extend_from_slice(b"{\"L\":[");
            let elements = value.list().take(elements_max);
            separated(elements, out, |element, out| write_value(element, out, below));
            out.push(b']');
        }
        Tag::Map => {
            out.extend_from_slice(b"{\"M\":");
            write_entries(value.map().take(elements_max), out, below);
        }
        Tag::StringSet => write_set(value, b"{\"SS\":[", write_string, out),
        Tag::NumberSet => write_set(value, b"{\"NS\":[", write_number, out),
        Tag::BinarySet => write_set(value, b"{\"BS\":[", write_base64, out),
    }
    out.push(b'}');
}

/// Appends `{"name":value,…}`.
pub(crate) fn write_entries<'a>(
    entries: impl Iterator<Item = (&'a str, ValueRef<'a>)>,
    out: &mut Vec<u8>,
    levels: usize,
) {
    out.push(b'{');
    separated(entries, out, |(name, value), out| {
        write_string(name.as_bytes(), out);
        out.push(b':');
        write_value(value, out, levels);
    });
    out.push(b'}');
}

fn write_set(value: ValueRef<'_>, start: &[u8], write: impl Fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    out.extend_from_slice(start);
    separated(value.set(), out, write);
    out.push(b']');
}

fn separated<T>(elements: impl Iterator<Item = T>, out: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    for (index, element) in elements.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(element, out);
    }
}

fn write_number(stored: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    number::write_text(stored, out);
    out.push(b'"');
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

/// Appends a JSON string: runs without anything to escape are copied whole.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    loop {
        let run = clean_run(rest);
        out.extend_from_slice(&rest[..run]);
        let Some(byte) = rest.get(run) else { break };
        write_escape(*byte, out);
        rest = &rest[run + 1..];
    }
    out.push(b'"');
}

/// How many bytes at the front need no escape: eight at a time.
fn clean_run(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte of `v` that is zero (and maybe of ones after it: only the question "any?" is asked).
    let zero_byte = |v: u64| v.wrapping_sub(ONES) & !v & HIGH;
    let mut at = 0;
    while let Some(chunk) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let quote = zero_byte(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_byte(word ^ (ONES * u64::from(b'\\')));
        if control | quote | backslash != 0 {
            break;
        }
        at += 8;
    }
    let tail = text[at..].iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
    tail.map_or(text.len(), |offset| at + offset)
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0xF)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
