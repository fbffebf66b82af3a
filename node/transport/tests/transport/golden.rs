//! The encodings are a contract between releases: `golden/messages.txt` freezes them. A line that fails
//! here is a change that a running cluster would not survive; `partita_transport::protocol` says how to make it.
//! Until the first release, `UPDATE_GOLDEN=1` may write the file anew.

use crate::samples::calls;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transport/golden/messages.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_are_encoded_as_they_were() {
    let mut text = String::new();
    for (name, operation, reply) in calls() {
        let operation = postcard::to_stdvec(&operation).unwrap();
        let reply = postcard::to_stdvec(&reply).unwrap();
        text += &format!("{name} {} -> {}\n", hex(&operation), hex(&reply));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(PATH, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(PATH).unwrap());
}
