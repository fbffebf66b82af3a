//! What `ADD` and `DELETE` do to sets.

use super::{Value, ValueRef};

/// The elements of both sets, which must be of one type; `None` when they are not sets of one type.
pub fn union(a: ValueRef<'_>, b: ValueRef<'_>) -> Option<Value> {
    merge(a, b, |in_a, in_b| in_a || in_b)
}

/// The elements of `a` that are not in `b`; `Some(None)` when none is left, `None` when they are not sets of one type.
pub fn difference(a: ValueRef<'_>, b: ValueRef<'_>) -> Option<Option<Value>> {
    merge(a, b, |in_a, in_b| in_a && !in_b).map(|set| (!set.as_ref().payload().is_empty()).then_some(set))
}

/// Walks two sets in order and keeps what `keep(in a, in b)` says.
fn merge(a: ValueRef<'_>, b: ValueRef<'_>, keep: impl Fn(bool, bool) -> bool) -> Option<Value> {
    if a.tag() != b.tag() || a.kind().element().is_none() {
        return None;
    }
    let mut bytes = Vec::with_capacity(a.bytes().len() + b.bytes().len());
    let mut writer = super::ValueWriter::new(&mut bytes);
    let open = writer.begin(a.tag());
    let (mut left, mut right) = (a.set().peekable(), b.set().peekable());
    loop {
        let (element, in_a, in_b) = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(l), None) => (*l, true, false),
            (None, Some(r)) => (*r, false, true),
            (Some(l), Some(r)) => ((*l).min(*r), l <= r, r <= l),
        };
        if in_a {
            left.next();
        }
        if in_b {
            right.next();
        }
        if keep(in_a, in_b) {
            writer.element(element);
        }
    }
    writer.end(open);
    Some(Value(bytes))
}
