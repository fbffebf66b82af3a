//! Access keys from a file in the format of `~/.aws/credentials`: the file that the clients have, too.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use partita_crds::names;
use partita_gateway::auth::{AccessKey, Credentials, Permission};
use partita_gateway::backend::Account;

/// Access keys by id.
pub struct KeyFile {
    keys: HashMap<String, Arc<AccessKey>>,
}

impl Credentials for KeyFile {
    fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        self.keys.get(id).cloned()
    }
}

/// What a profile says, with the number of its first line.
#[derive(Default)]
struct Profile {
    line: usize,
    settings: HashMap<String, String>,
}

/// Reads the file. Keys that name no account are `default`'s.
pub fn read(path: &Path, default: &Account) -> anyhow::Result<KeyFile> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--credentials {}", path.display()))?;
    parse(&text, default).with_context(|| format!("--credentials {}", path.display()))
}

fn parse(text: &str, default: &Account) -> anyhow::Result<KeyFile> {
    let mut keys = HashMap::new();
    for profile in profiles(text)? {
        let line = profile.line;
        let (id, key) = access_key(profile, default).with_context(|| format!("the profile in line {line}"))?;
        if keys.insert(id, Arc::new(key)).is_some() {
            bail!("the profile in line {line}: its aws_access_key_id stands in another profile, too");
        }
    }
    if keys.is_empty() {
        bail!("there is no access key in it");
    }
    Ok(KeyFile { keys })
}

fn profiles(text: &str) -> anyhow::Result<Vec<Profile>> {
    let mut profiles: Vec<Profile> = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let (number, line) = (place + 1, line.trim());
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') {
            profiles.push(Profile {
                line: number,
                settings: HashMap::new(),
            });
            continue;
        }
        let (Some((name, value)), Some(profile)) = (line.split_once('='), profiles.last_mut()) else {
            bail!("line {number} is neither a [profile] nor a setting of one");
        };
        profile.settings.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(profiles)
}

fn access_key(mut profile: Profile, default: &Account) -> anyhow::Result<(String, AccessKey)> {
    let mut setting = |name: &str| profile.settings.remove(name).filter(|value| !value.is_empty());
    let id = setting("aws_access_key_id").context("aws_access_key_id is missing")?;
    let secret = setting("aws_secret_access_key").context("aws_secret_access_key is missing")?;
    let account = match (setting("partita_namespace"), setting("partita_account")) {
        (Some(_), Some(_)) => {
            bail!("partita_namespace and partita_account: a namespace is an account, give one of them")
        }
        (Some(namespace), None) => Account::of_namespace(namespace.as_str(), names::account(&namespace)),
        (None, Some(account)) if account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit()) => {
            Account::new(account)
        }
        (None, Some(account)) => bail!("partita_account: {account} is not twelve digits"),
        (None, None) => default.clone(),
    };
    let permission = match setting("partita_permission").as_deref() {
        None | Some("tables") => Permission::Tables,
        Some("data") => Permission::Data,
        Some(other) => bail!("partita_permission: {other} is neither tables nor data"),
    };
    Ok((id, AccessKey::new(secret, account, permission)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# laptop
[default]
aws_access_key_id = AKIDEXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG
region = eu-central-1

[reader]
aws_access_key_id=AKIDREADER
aws_secret_access_key=secret
partita_account=111122223333
partita_permission=data
";

    fn default() -> Account {
        Account::new("000000000000")
    }

    #[test]
    fn profiles_become_keys() {
        let keys = parse(FILE, &default()).unwrap();
        let default = keys.find("AKIDEXAMPLE").unwrap();
        assert_eq!(
            (&*default.account.id, default.permission),
            ("000000000000", Permission::Tables)
        );
        let reader = keys.find("AKIDREADER").unwrap();
        assert_eq!(
            (&*reader.account.id, reader.permission),
            ("111122223333", Permission::Data)
        );
        assert!(keys.find("AKIDNOBODY").is_none());
    }

    #[test]
    fn a_namespace_is_an_account() {
        let profile = "[a]\naws_access_key_id=a\naws_secret_access_key=b\npartita_namespace=shop\n";
        let account = parse(profile, &default()).unwrap().find("a").unwrap().account.clone();
        assert_eq!(account, Account::of_namespace("shop", names::account("shop")));
        let both = parse(&format!("{profile}partita_account=111122223333\n"), &default());
        assert!(format!("{:#}", both.err().unwrap()).contains("give one of them"));
    }

    #[test]
    fn mistakes_are_named() {
        let reason = |text: &str| format!("{:#}", parse(text, &default()).err().unwrap());
        assert_eq!(reason(""), "there is no access key in it");
        assert!(reason("aws_access_key_id = x").starts_with("line 1 "));
        assert!(reason("[a]\naws_access_key_id = x").contains("aws_secret_access_key is missing"));
        assert!(reason(&format!("{FILE}partita_account=12\n")).contains("twelve digits"));
        let twice = format!("{FILE}[again]\naws_access_key_id=AKIDREADER\naws_secret_access_key=x\n");
        assert!(reason(&twice).contains("another profile"));
    }
}
