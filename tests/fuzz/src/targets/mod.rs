//! What is fuzzed. A target makes an input from a seed and checks what its reader does with it.

mod expression;
mod item;
mod json;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A reader under attack.
pub struct Target {
    /// As on the command line.
    pub name: &'static str,
    /// More for the corpus than its own file.
    pub more: fn() -> Result<Vec<String>>,
    /// Makes an input of a line of the corpus as it stands.
    pub plain: fn(&str) -> Vec<u8>,
    /// Makes a mutated one.
    pub make: fn(&mut StdRng, &Corpus) -> Vec<u8>,
    /// Reads it. A finding is a panic.
    pub check: fn(&[u8], &mut StdRng),
}

impl Target {
    /// The input of a case: the first seeds are the lines of the corpus as they stand.
    pub fn input(&self, random: &mut StdRng, corpus: &Corpus, seed: u64) -> Vec<u8> {
        match usize::try_from(seed).ok().and_then(|seed| corpus.lines.get(seed)) {
            Some(line) => (self.plain)(line),
            None => (self.make)(random, corpus),
        }
    }
}

/// All of them.
pub const ALL: &[Target] = &[json::TARGET, expression::TARGET, item::TARGET];

/// The target of that name.
pub fn find(name: &str) -> Result<&'static Target> {
    let target = ALL.iter().find(|target| target.name == name);
    target.with_context(|| format!("no target {name:?}, there are: {}", names()))
}

/// The targets' names.
pub fn names() -> String {
    ALL.iter().map(|target| target.name).collect::<Vec<_>>().join(", ")
}

/// Inputs to start from, one a line, and inputs that were findings once.
pub struct Corpus {
    pub lines: Vec<String>,
}

impl Corpus {
    /// `corpus/NAME.txt`, without its comments, and what the target has elsewhere.
    pub fn load(target: &Target) -> Result<Self> {
        let path = folder().join("corpus").join(format!("{}.txt", target.name));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("# "))
            .map(str::to_owned)
            .collect();
        lines.extend((target.more)()?);
        Ok(Corpus { lines })
    }

    /// One of its lines.
    fn choose(&self, random: &mut StdRng) -> &str {
        self.lines.choose(random).map_or("", String::as_str)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
