//! The difference of two JSON values as a merge patch.
//!
//! Source: RFC 7396, "JSON Merge Patch".

use serde_json::{Map, Value};

/// What makes `to` of `from`; `None` when they are equal. Lists are replaced as a whole, members that are gone become
/// null. (Neither has nulls of its own: resources leave out what is not set.)
pub fn difference(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return Some(to.clone());
    };
    let gone = from.keys().filter(|name| !to.contains_key(*name));
    let mut patch: Map<String, Value> = gone.map(|name| (name.clone(), Value::Null)).collect();
    for (name, value) in to {
        let change = match from.get(name) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        patch.extend(change.map(|change| (name.clone(), change)));
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_in_a_patch() {
        let from = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2], "f": true});
        assert_eq!(difference(&from, &from), None);
        let to = json!({"a": 1, "b": {"c": 4}, "e": [2], "g": {"h": 5}});
        let patch = json!({"b": {"c": 4, "d": null}, "e": [2], "f": null, "g": {"h": 5}});
        assert_eq!(difference(&from, &to), Some(patch));
    }
}
