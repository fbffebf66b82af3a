//! A request takes effect at most once: each value that a client wrote stands in one applied entry at most.

use std::collections::BTreeMap;

use partita_partition::descriptor::GroupId;

use super::applied_entries::AppliedEntries;

pub fn check<'a>(groups: impl Iterator<Item = (GroupId, &'a AppliedEntries)>) -> Result<(), String> {
    let mut seen: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (group, applied) in groups {
        for (index, (_, content)) in &applied.entries {
            for marker in markers(content) {
                let here = (group.0, *index);
                if let Some(before) = seen.insert(marker.clone(), here)
                    && before != here
                {
                    return Err(format!(
                        "{marker} was written twice, by (group, entry) {before:?} and {here:?}"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The values in an entry: see [`crate::table::marker`].
fn markers(content: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = content;
    while let Some(start) = rest.iter().position(|byte| *byte == b'<') {
        rest = &rest[start + 1..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 && rest.get(digits) == Some(&b'>') {
            found.push(String::from_utf8_lossy(&rest[..digits]).into_owned());
        }
    }
    found
}
