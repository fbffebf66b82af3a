//! What an entry of a group's log holds: a header, and effects.
//!
//! `format | kind | term | range epoch | (length | effect)*`, numbers little-endian. Many writes share one entry; a split
//! has one of its own, and its own kind, and so has each step of a merge. The header names the term and the range epoch in which its effects were evaluated; apply skips an entry for which
//! either is no longer true. Checksums are the log's (and later the transport's) business.

/// The format written and the newest one read.
const FORMAT: u8 = 1;
/// An entry full of effects.
const KIND_EFFECTS: u8 = 1;
/// An entry with one effect, which cuts the partition.
const KIND_SPLIT: u8 = 2;
/// An entry with one effect, which is a step of a merge.
const KIND_MERGE: u8 = 3;
const HEADER_BYTES: usize = 18;
const LENGTH_BYTES: usize = 4;

/// Under which conditions an entry's effects were evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evaluated {
    /// The leader's term.
    pub(crate) term: u64,
    /// The partition's range epoch.
    pub(crate) range_epoch: u64,
}

/// An entry that this version cannot read. The replica must stop: skipping it would make it differ from the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("entry format {0} is newer than this software")]
    Newer(u8),
    #[error("unknown entry kind {0}")]
    UnknownKind(u8),
    #[error("an entry ends early")]
    Short,
}

/// An entry being filled.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    effects: usize,
    /// Nothing else goes into it.
    closed: bool,
}

impl FrameBuilder {
    pub(crate) fn new(evaluated: Evaluated) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(&[FORMAT, KIND_EFFECTS]);
        bytes.extend_from_slice(&evaluated.term.to_le_bytes());
        bytes.extend_from_slice(&evaluated.range_epoch.to_le_bytes());
        Self {
            bytes,
            effects: 0,
            closed: false,
        }
    }

    /// An entry for a split alone.
    pub(crate) fn split(evaluated: Evaluated, effect: &[u8]) -> Self {
        Self::alone(KIND_SPLIT, evaluated, effect)
    }

    /// An entry for a step of a merge alone.
    pub(crate) fn merge(evaluated: Evaluated, effect: &[u8]) -> Self {
        Self::alone(KIND_MERGE, evaluated, effect)
    }

    fn alone(kind: u8, evaluated: Evaluated, effect: &[u8]) -> Self {
        let mut builder = Self::new(evaluated);
        builder.bytes[1] = kind;
        builder.push(effect);
        builder.closed = true;
        builder
    }

    /// Whether nothing else goes into it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn push(&mut self, effect: &[u8]) {
        // An effect is bounded by DynamoDB's limits on items: a few megabytes at most.
        self.bytes.extend_from_slice(&(effect.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(effect);
        self.effects += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn effects(&self) -> usize {
        self.effects
    }

    /// The bytes of all effects pushed.
    pub(crate) fn effect_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES - self.effects * LENGTH_BYTES
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// An entry being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    kind: u8,
    evaluated: Evaluated,
    effects: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let (header, effects) = bytes.split_at_checked(HEADER_BYTES).ok_or(FrameError::Short)?;
        match header {
            [FORMAT, kind @ (KIND_EFFECTS | KIND_SPLIT | KIND_MERGE), numbers @ ..] => {
                let (numbers, _) = numbers.as_chunks::<8>();
                let [term, range_epoch] = numbers else {
                    return Err(FrameError::Short);
                };
                Ok(Self {
                    kind: *kind,
                    evaluated: Evaluated {
                        term: u64::from_le_bytes(*term),
                        range_epoch: u64::from_le_bytes(*range_epoch),
                    },
                    effects,
                })
            }
            [FORMAT, kind, ..] => Err(FrameError::UnknownKind(*kind)),
            [format, ..] => Err(FrameError::Newer(*format)),
            [] => Err(FrameError::Short),
        }
    }

    pub(crate) fn evaluated(&self) -> Evaluated {
        self.evaluated
    }

    /// Whether its only effect cuts the partition.
    pub(crate) fn is_split(&self) -> bool {
        self.kind == KIND_SPLIT
    }

    /// Whether its only effect is a step of a merge.
    pub(crate) fn is_merge(&self) -> bool {
        self.kind == KIND_MERGE
    }

    /// Whether an entry's data is a frame that is applied by itself, at a glance.
    pub(crate) fn is_alone(bytes: &[u8]) -> bool {
        bytes.starts_with(&[FORMAT, KIND_SPLIT]) || Self::looks_like_merge(bytes)
    }

    /// Whether an entry's data is a step of a merge, at a glance.
    pub(crate) fn looks_like_merge(bytes: &[u8]) -> bool {
        bytes.starts_with(&[FORMAT, KIND_MERGE])
    }

    pub(crate) fn effects(&self) -> impl Iterator<Item = Result<&'a [u8], FrameError>> + use<'a> {
        let mut rest = self.effects;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let next = rest
                .split_first_chunk::<LENGTH_BYTES>()
                .and_then(|(length, behind)| behind.split_at_checked(u32::from_le_bytes(*length) as usize));
            match next {
                Some((effect, behind)) => {
                    rest = behind;
                    Some(Ok(effect))
                }
                None => {
                    rest = &[];
                    Some(Err(FrameError::Short))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVALUATED: Evaluated = Evaluated {
        term: 7,
        range_epoch: 3,
    };

    #[test]
    fn what_is_pushed_comes_back() {
        let mut builder = FrameBuilder::new(EVALUATED);
        for effect in [b"one".as_slice(), b"", b"three"] {
            builder.push(effect);
        }
        assert_eq!(builder.effects(), 3);
        let bytes = builder.into_bytes();
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.evaluated(), EVALUATED);
        assert!(!frame.is_split() && !frame.is_merge() && !Frame::is_alone(&bytes));
        let effects: Vec<_> = frame.effects().map(Result::unwrap).collect();
        assert_eq!(effects, [b"one".as_slice(), b"", b"three"]);
    }

    #[test]
    fn a_split_has_an_entry_of_its_own() {
        let builder = FrameBuilder::split(EVALUATED, b"cut");
        assert!(builder.is_closed());
        let bytes = builder.into_bytes();
        assert!(Frame::is_alone(&bytes) && !Frame::looks_like_merge(&bytes));
        let frame = Frame::parse(&bytes).unwrap();
        assert!(frame.is_split());
        let effects: Vec<_> = frame.effects().map(Result::unwrap).collect();
        assert_eq!(effects, [b"cut"]);
        let bytes = FrameBuilder::merge(EVALUATED, b"join").into_bytes();
        assert!(Frame::is_alone(&bytes) && Frame::looks_like_merge(&bytes));
        assert!(Frame::parse(&bytes).unwrap().is_merge());
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let mut bytes = FrameBuilder::new(EVALUATED).into_bytes();
        bytes.extend_from_slice(&[9, 0, 0, 0, 1]);
        let cut: Vec<_> = Frame::parse(&bytes).unwrap().effects().collect();
        assert_eq!(cut, [Err(FrameError::Short)]);
        bytes[1] = 99;
        assert_eq!(Frame::parse(&bytes).unwrap_err(), FrameError::UnknownKind(99));
        bytes[0] = 2;
        assert_eq!(Frame::parse(&bytes).unwrap_err(), FrameError::Newer(2));
        assert_eq!(Frame::parse(&[1]).unwrap_err(), FrameError::Short);
    }
}
