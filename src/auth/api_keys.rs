//! API keys of services: reading `API_KEYS_FILE`, and making a new key.
//!
//! The file holds hashes, so that a reader of the file gets no key. A plain SHA-256 is enough,
//! because keys are 256 random bits: they cannot be guessed, so a slow hash gains nothing.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::principal::{Scope, Scopes, Service};

/// How every API key begins; no JWT does.
pub const KEY_PREFIX: &str = "ohk_";
/// The largest file of API keys, in bytes.
pub(super) const MAX_FILE_BYTES: usize = 1024 * 1024;
/// The longest key that is checked, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// The longest name of a key, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The valid API keys, by their SHA-256.
///
/// How many leading bits of a hash match a stored one says nothing about the key, so the look-up
/// does not have to take constant time.
#[derive(Debug, Default)]
pub(super) struct ApiKeys(HashMap<[u8; 32], Service>);

/// A new key: shown once, and kept as its hash.
pub struct NewKey {
    /// The key that the service sends.
    pub key: String,
    /// The entry for the file.
    pub entry: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    scopes: Vec<String>,
}

// === impl ApiKeys ===

impl ApiKeys {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with the text, in one line.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "is no text in UTF-8".to_owned())?;
        let document: Document = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + count_lines(text, span.start));
            format!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        let mut keys = HashMap::with_capacity(document.keys.len());
        let mut names = std::collections::HashSet::new();
        for entry in document.keys {
            let (hash, service) = entry.check()?;
            let name = Arc::clone(&service.name);
            if !names.insert(Arc::clone(&name)) {
                return Err(format!("the name {name:?} comes twice"));
            }
            if keys.insert(hash, service).is_some() {
                return Err(format!("the key of {name:?} comes twice"));
            }
        }
        Ok(Self(keys))
    }

    /// The service that has this key.
    pub(super) fn find(&self, key: &str) -> Option<Service> {
        if !is_api_key(key) || key.len() > MAX_KEY_BYTES {
            return None;
        }
        self.0.get(&sha256(key)).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Entry {
    fn check(self) -> Result<([u8; 32], Service), String> {
        let Self { name, sha256, scopes } = self;
        check_name(&name).map_err(|allowed| format!("the name {name:?} must be {allowed}"))?;
        let hash = from_hex(&sha256).ok_or_else(|| {
            format!("the sha256 of {name:?} must be 64 hexadecimal digits (see orderhub api-key)")
        })?;
        if scopes.is_empty() {
            return Err(format!("{name:?} has no scopes, so it could do nothing"));
        }
        let scopes: Result<Scopes, String> = scopes
            .iter()
            .map(|scope| {
                let problem = || format!("{name:?}: {scope:?} is none of {}", Scope::names());
                Scope::from_name(scope).ok_or_else(problem)
            })
            .collect();
        Ok((hash, Service { name: name.into(), scopes: scopes? }))
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("entry", &self.entry).finish_non_exhaustive()
    }
}

/// Whether a bearer token has the form of an API key.
pub(super) fn is_api_key(token: &str) -> bool {
    token.starts_with(KEY_PREFIX)
}

/// Checks the name of a key. The error completes "it must be …".
///
/// # Errors
/// What is allowed.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:@/-".contains(c);
    let good = (1..=MAX_NAME_CHARS).contains(&name.len()) && name.chars().all(plain);
    good.then_some(()).ok_or_else(|| "1 to 64 of A-Z a-z 0-9 . _ : @ / -".to_owned())
}

/// Makes a key of this name for these scopes.
///
/// # Errors
/// If the system gives no random bytes.
pub fn new_key(name: &str, scopes: &[Scope]) -> Result<NewKey, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let hash = to_hex(&sha256(&key));
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("{:?}", scope.as_str())).collect();
    let scopes = scopes.join(", ");
    let entry = format!("[[keys]]\nname = {name:?}\nsha256 = {hash:?}\nscopes = [{scopes}]\n");
    Ok(NewKey { key, entry })
}

fn sha256(key: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    hash
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[place..place + 2], 16).ok()?;
    }
    Some(bytes)
}

fn count_lines(text: &str, end: usize) -> usize {
    text.bytes().take(end).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn parse(text: &str) -> Result<ApiKeys, String> {
        ApiKeys::parse(text.as_bytes())
    }

    fn entry(name: &str, hash: &str, scopes: &str) -> String {
        format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nscopes = [{scopes}]\n")
    }

    #[test]
    fn a_new_key_is_known_by_its_entry_and_differs_from_every_other() {
        let one = new_key("shop", &[Scope::OrdersRead, Scope::EventsWrite]).expect("random");
        let other = new_key("desk", &[Scope::AdminRead]).expect("random");
        assert_ne!(one.key, other.key);
        assert!(one.key.starts_with("ohk_") && one.key.len() == 47);
        assert!(!one.entry.contains(&one.key) && !format!("{one:?}").contains(&one.key));
        let keys = parse(&[one.entry, other.entry].concat()).expect("good");
        assert_eq!(keys.len(), 2);
        let service = keys.find(&one.key).expect("known");
        assert_eq!(&*service.name, "shop");
        assert!(service.scopes.contains(Scope::EventsWrite));
        assert!(!service.scopes.contains(Scope::AdminRead));
        let unknown = ["", "ohk_", &one.key[4..], &one.key[..46], &format!("{} ", one.key)];
        for unknown in unknown.map(str::to_owned).into_iter().chain(["ohk_".repeat(100)]) {
            assert_eq!(keys.find(&unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_hash_may_be_written_in_capitals_and_the_hash_is_no_key() {
        let key = new_key("a", &[Scope::OrdersRead]).expect("random");
        let hash = key.entry.lines().nth(2).expect("a line").to_owned();
        let capitals = key.entry.replace(&hash, &hash.to_uppercase().replace("SHA256", "sha256"));
        let keys = parse(&capitals).expect("good");
        assert!(keys.find(&key.key).is_some());
        let hash = hash.split('"').nth(1).expect("quoted");
        assert_eq!(keys.find(hash), None);
        assert_eq!(keys.find(&format!("ohk_{hash}")), None);
    }

    #[test]
    fn an_empty_file_has_no_keys() {
        for text in ["", "# none yet\n", "keys = []"] {
            assert_eq!(parse(text).expect("good").len(), 0);
        }
    }

    #[test]
    fn an_invalid_file_is_an_error_of_one_line() {
        let good = entry("a", HASH, "\"orders:read\"");
        let twice = entry("b", HASH, "\"orders:read\"");
        for (text, part) in [
            ("keys = 7".to_owned(), "line 1: "),
            ("\n\n[[keys]]\nnome = \"a\"".to_owned(), "line 4: unknown field"),
            ("[[keys]]\nname = \"a\"\n".to_owned(), "missing field"),
            ("[[keys".to_owned(), "line 1: "),
            (entry("a b", HASH, "\"orders:read\""), "the name \"a b\" must be 1 to 64"),
            (entry("", HASH, "\"orders:read\""), "the name \"\""),
            (entry("a", "abc", "\"orders:read\""), "the sha256 of \"a\""),
            (entry("a", &HASH.replace('9', "g"), "\"orders:read\""), "the sha256 of \"a\""),
            (entry("a", HASH, "\"orders\""), "\"orders\" is none of orders:read, "),
            (entry("a", HASH, ""), "has no scopes"),
            (good.clone() + &good, "the name \"a\" comes twice"),
            (good.clone() + &twice, "the key of \"b\" comes twice"),
        ] {
            let error = parse(&text).expect_err("is refused");
            assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        }
        assert!(ApiKeys::parse(b"\xff").is_err());
    }
}
