//! The endpoints of `WEBHOOKS_FILE`: what an entry must be, and how a request to it is signed.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use serde::Deserialize;
use standardwebhooks::{Webhook, WebhookError};
use toml::Spanned;

use super::authorities::{Authorities, hex_hash};
use super::event::{EventKind, EventSet};
use crate::config::ConfigError;

/// The largest file, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// The most endpoints. Each has connections and deliveries of its own.
const MAX_ENDPOINTS: usize = 32;
/// The most secrets of an endpoint: each signs every request.
const MAX_SECRETS: usize = 10;
/// The longest name, in characters. It stands in paths and metrics.
const MAX_NAME_CHARS: usize = 64;
/// The length of a secret in bytes, as Standard Webhooks recommends.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How long an endpoint may take to answer by default, and the bounds of that, in milliseconds.
const DEFAULT_TIMEOUT_MS: u64 = 5000;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// The endpoints in force.
#[derive(Debug, Default)]
pub struct Endpoints(Vec<Arc<Endpoint>>);

/// One entry of the file.
pub struct Endpoint {
    /// Its name, which the database and the admin API use.
    pub name: Arc<str>,
    /// Where it is.
    pub url: Uri,
    /// What it is told.
    pub events: EventSet,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// Whether `http` may reach more than loopback.
    pub allow_http: bool,
    /// Those of whom one must have signed its certificate; `None`: the public ones.
    pub authorities: Option<Authorities>,
    /// A hash of the whole entry, and of what it names: another entry under the same name has another
    /// one.
    pub entry: String,
    /// One for each secret, newest first.
    signers: Vec<Webhook>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    endpoints: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    url: Spanned<String>,
    secrets: Spanned<Vec<Spanned<String>>>,
    events: Spanned<Vec<Spanned<String>>>,
    timeout_ms: Option<Spanned<u64>>,
    #[serde(default)]
    allow_http: bool,
    ca: Option<Spanned<PathBuf>>,
}

/// What is wrong, and where in the file it begins.
struct Mistake {
    at: usize,
    problem: String,
}

/// What is wrong with a value, without a text that stands there: it may be a secret.
fn without_value(message: &str) -> String {
    match (message.find("string \""), message.rfind('"')) {
        (Some(from), Some(to)) => format!("{}a text{}", &message[..from], &message[to + 1..]),
        _ => message.to_owned(),
    }
}

// === impl Endpoints ===

impl Endpoints {
    /// Reads the file's text, and the certificates that it names.
    ///
    /// # Errors
    /// What is wrong with the text, in one line. It repeats no secret.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "is no text in UTF-8".to_owned())?;
        let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let document: Document = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            format!("line {}: {}", line(at), without_value(error.message()).replace('\n', " "))
        })?;
        let parsed = Self::check(document);
        parsed.map_err(|Mistake { at, problem }| format!("line {}: {problem}", line(at)))
    }

    fn check(document: Document) -> Result<Self, Mistake> {
        let mut names = HashSet::new();
        let mut endpoints = Vec::with_capacity(document.endpoints.len());
        for entry in document.endpoints {
            let (at, name_at) = (entry.span().start, entry.get_ref().name.span().start);
            if endpoints.len() == MAX_ENDPOINTS {
                return Err(Mistake::at(
                    at,
                    format!("there are more than {MAX_ENDPOINTS} endpoints"),
                ));
            }
            let endpoint = entry.into_inner().check()?;
            if !names.insert(Arc::clone(&endpoint.name)) {
                let problem = format!("the name {:?} comes twice", endpoint.name);
                return Err(Mistake::at(name_at, problem));
            }
            endpoints.push(Arc::new(endpoint));
        }
        Ok(Self(endpoints))
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.0.iter()
    }

    /// The endpoint of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.0.iter().find(|endpoint| &*endpoint.name == name)
    }

    /// Whether a file of certificates that an entry names has changed since it was read.
    pub fn have_other_authorities(&self) -> bool {
        let authorities = self.0.iter().filter_map(|endpoint| endpoint.authorities.as_ref());
        authorities.into_iter().any(Authorities::have_changed)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// The endpoint of questions that a setting names, signed with these secrets (with commas).
    ///
    /// # Errors
    /// The setting that is wrong. It repeats no secret.
    pub fn of_hook(
        variable: &'static str,
        address: &str,
        secrets: &str,
        timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let refused = |variable, mistake: Mistake| ConfigError::new(variable, mistake.problem);
        let unplaced = |text: &str| Spanned::new(0..0, text.trim().to_owned());
        let secrets = secrets.split(',').map(unplaced).collect();
        Ok(Self {
            url: url(&unplaced(address), false).map_err(|mistake| refused(variable, mistake))?,
            signers: signers(&Spanned::new(0..0, secrets))
                .map_err(|mistake| refused("HOOK_SECRET", mistake))?,
            events: EventSet::default(),
            name: variable.into(),
            timeout,
            allow_http: false,
            authorities: None,
            entry: String::new(),
        })
    }

    /// The address as it may be shown: without its query, which may hold a secret.
    pub fn shown_url(&self) -> String {
        let authority = self.url.authority().map_or("", http::uri::Authority::as_str);
        format!("{}://{authority}{}", self.url.scheme_str().unwrap_or_default(), self.url.path())
    }

    /// Whether it may be connected to only on this machine.
    pub fn needs_loopback(&self) -> bool {
        self.url.scheme_str() == Some("http") && !self.allow_http
    }

    /// The value of `webhook-signature`: one signature for each secret.
    ///
    /// # Errors
    /// Never for a body in UTF-8.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<String, WebhookError> {
        let signed = self.signers.iter().map(|signer| signer.sign(id, timestamp, body));
        Ok(signed.collect::<Result<Vec<_>, _>>()?.join(" "))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Mistake ===

impl Mistake {
    fn at(at: usize, problem: impl Into<String>) -> Self {
        Self { at, problem: problem.into() }
    }

    fn of<T>(part: &Spanned<T>, problem: impl Into<String>) -> Self {
        Self::at(part.span().start, problem)
    }
}

// === impl Entry ===

impl Entry {
    fn check(self) -> Result<Endpoint, Mistake> {
        let authorities = self.ca.as_ref().map(authorities).transpose()?;
        let entry = self.hash(authorities.as_ref().map(Authorities::hash));
        let name = self.name.get_ref();
        check_name(name).map_err(|allowed| {
            Mistake::of(&self.name, format!("the name {name:?} must be {allowed}"))
        })?;
        let timeout_ms = self.timeout_ms.as_ref().map_or(DEFAULT_TIMEOUT_MS, |ms| *ms.get_ref());
        if let Some(given) =
            self.timeout_ms.as_ref().filter(|ms| !TIMEOUT_MS.contains(ms.get_ref()))
        {
            let (least, most) = (TIMEOUT_MS.start(), TIMEOUT_MS.end());
            return Err(Mistake::of(given, format!("timeout_ms must be {least} to {most}")));
        }
        Ok(Endpoint {
            url: url(&self.url, self.allow_http)?,
            events: events(&self.events)?,
            signers: signers(&self.secrets)?,
            authorities,
            timeout: Duration::from_millis(timeout_ms),
            allow_http: self.allow_http,
            name: name.as_str().into(),
            entry,
        })
    }

    /// A hash of all that the entry says, with the certificates that it names.
    fn hash(&self, certificates: Option<&str>) -> String {
        let texts = |all: &[Spanned<String>]| -> Vec<String> {
            all.iter().map(|one| one.get_ref().clone()).collect()
        };
        let said = format!(
            "{:?}",
            (
                (self.name.get_ref(), self.url.get_ref()),
                (texts(self.secrets.get_ref()), texts(self.events.get_ref())),
                (self.timeout_ms.as_ref().map(Spanned::get_ref), self.allow_http),
                (self.ca.as_ref().map(Spanned::get_ref), certificates),
            )
        );
        hex_hash(said.as_bytes())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = (1..=MAX_NAME_CHARS).contains(&name.len()) && name.chars().all(plain);
    good.then_some(()).ok_or_else(|| "1 to 64 of A-Z a-z 0-9 . _ -".to_owned())
}

fn url(given: &Spanned<String>, allow_http: bool) -> Result<Uri, Mistake> {
    let refused = |problem: &str| Mistake::of(given, format!("the url {problem}"));
    let uri: Uri = given.get_ref().parse().map_err(|_| refused("cannot be read"))?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let Some(authority) = authority else { return Err(refused("must be an https address")) };
    if authority.as_str().contains('@') {
        return Err(refused("must have no user and no password"));
    }
    let host = authority.host().trim_matches(['[', ']']);
    let is_local = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_local || allow_http => Ok(uri),
        Some("http") => Err(refused("must be https: http beyond loopback needs allow_http = true")),
        _ => Err(refused("must be an https address")),
    }
}

fn events(given: &Spanned<Vec<Spanned<String>>>) -> Result<EventSet, Mistake> {
    if given.get_ref().is_empty() {
        return Err(Mistake::of(given, "events is empty, so nothing would be told"));
    }
    given.get_ref().iter().try_fold(EventSet::default(), |all, pattern| {
        let named = EventSet::matching(pattern.get_ref()).ok_or_else(|| {
            let known: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
            let problem = format!(
                "the pattern {:?} names none of {} (nor a group of them like chat.*)",
                pattern.get_ref(),
                known.join(", ")
            );
            Mistake::of(pattern, problem)
        })?;
        Ok(all.union(named))
    })
}

fn signers(given: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<Webhook>, Mistake> {
    if !(1..=MAX_SECRETS).contains(&given.get_ref().len()) {
        return Err(Mistake::of(given, format!("secrets must be 1 to {MAX_SECRETS} secrets")));
    }
    let signer = |secret: &Spanned<String>| {
        let bytes = secret.get_ref().strip_prefix("whsec_").map(|text| STANDARD.decode(text));
        let bytes = bytes.and_then(Result::ok).filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
        let signer = bytes.and_then(|bytes| Webhook::from_bytes(bytes).ok());
        signer.ok_or_else(|| {
            Mistake::of(secret, "a secret must be whsec_ and the base64 of 24 to 64 bytes")
        })
    };
    given.get_ref().iter().map(signer).collect()
}

fn authorities(given: &Spanned<PathBuf>) -> Result<Authorities, Mistake> {
    let path = given.get_ref();
    Authorities::read(path)
        .map_err(|problem| Mistake::of(given, format!("ca {}: {problem}", path.display())))
}

#[cfg(test)]
mod tests;
