//! The file of API keys.

use std::fs;
use std::path::Path;

use orderhub::auth::{NewKey, Scope, new_key};

/// A key of this name.
pub fn made(name: &str, scopes: &[Scope]) -> NewKey {
    new_key(name, scopes).expect("random bytes")
}

/// Replaces the file in one step.
pub fn put(path: &Path, keys: &[&NewKey]) {
    let text: String = keys.iter().map(|key| key.entry.as_str()).collect();
    write(path, &text);
}

pub fn write(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).expect("writes");
    fs::rename(&draft, path).expect("replaces");
}
