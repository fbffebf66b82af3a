//! Bytes of effects and change records: varints, byte strings with their length, and a reader that never panics.

use crate::error::PartitionError;

/// Appends a number, seven bits a byte, lowest first.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number that may be negative.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Appends a byte string with its length; returns where it is.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> std::ops::Range<usize> {
    put_varint(out, bytes.len() as u64);
    let start = out.len();
    out.extend_from_slice(bytes);
    start..out.len()
}

/// Reads what the functions above wrote.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// What is being read, for errors.
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads these bytes, which are `what`.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that do not read as they should.
    pub fn unknown(&self) -> PartitionError {
        PartitionError::UnknownFormat(self.what.to_owned())
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, PartitionError> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| self.unknown())?;
        self.rest = rest;
        Ok(*byte)
    }

    /// A number.
    pub fn varint(&mut self) -> Result<u64, PartitionError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.unknown())
    }

    /// A number that may be negative.
    pub fn signed(&mut self) -> Result<i64, PartitionError> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// So many bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], PartitionError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.unknown())?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], PartitionError> {
        let len = usize::try_from(self.varint()?).map_err(|_| self.unknown())?;
        self.take(len)
    }

    /// Eight bytes, big-endian.
    pub fn fixed(&mut self) -> Result<u64, PartitionError> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// An index's number.
    pub fn index(&mut self) -> Result<partita_model::schema::IndexId, PartitionError> {
        let number = u16::try_from(self.varint()?).map_err(|_| self.unknown())?;
        Ok(partita_model::schema::IndexId(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_come_back() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u64::MAX];
        let signed = [0, 1, -1, 64, -65, i64::MAX, i64::MIN];
        numbers.iter().for_each(|n| put_varint(&mut out, *n));
        signed.iter().for_each(|n| put_signed(&mut out, *n));
        put_bytes(&mut out, b"text");
        let mut reader = Reader::new(&out, "test");
        for number in numbers {
            assert_eq!(reader.varint().unwrap(), number);
        }
        for number in signed {
            assert_eq!(reader.signed().unwrap(), number);
        }
        assert_eq!(reader.bytes().unwrap(), b"text");
        assert!(reader.is_empty());
        assert!(reader.byte().is_err());
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert!(Reader::new(&[5, 1], "test").bytes().is_err());
        assert!(Reader::new(&[0xFF; 11], "test").varint().is_err());
    }
}
