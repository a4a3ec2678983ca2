//! Where keys are read from: a file or a server.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::config::{AuthConfig, ConfigError, JwksSource, redacted_url};

/// How long a server may take for its whole answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A byte-order mark (U+FEFF in UTF-8), which some editors write at the start of a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A source of keys, and the most bytes that are read of it.
pub(super) struct KeySource {
    place: SourceKind,
    max_bytes: usize,
}

enum SourceKind {
    File(PathBuf),
    Url { url: String, agent: Box<Agent> },
}

// === impl KeySource ===

impl KeySource {
    /// A file, which is read whole.
    pub(super) fn file(path: &Path, max_bytes: usize) -> Self {
        Self { place: SourceKind::File(path.to_owned()), max_bytes }
    }

    /// `JWT_JWKS`.
    ///
    /// # Errors
    /// `JWT_JWKS_CA` if that file contains no certificates.
    pub(super) fn jwks(
        from: &JwksSource,
        auth: &AuthConfig,
        max_bytes: usize,
    ) -> Result<Self, ConfigError> {
        let place = match from {
            JwksSource::File(path) => SourceKind::File(path.clone()),
            JwksSource::Url(url) => {
                let agent = Box::new(agent(url, auth.jwks_ca.as_deref())?);
                SourceKind::Url { url: url.clone(), agent }
            }
        };
        Ok(Self { place, max_bytes })
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.place, SourceKind::File(_))
    }

    /// Reads the current content, without a byte-order mark. Blocks, for a server up to five
    /// seconds.
    ///
    /// # Errors
    /// Why it cannot be read, in one line.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        let read = match &self.place {
            SourceKind::File(path) => read_file(path, self.max_bytes),
            SourceKind::Url { url, agent } => fetch(agent, url, self.max_bytes),
        };
        let mut content =
            read.map_err(|problem| self.without_secrets(&problem).replace(['\n', '\r'], " "))?;
        if content.starts_with(BYTE_ORDER_MARK) {
            content.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(content)
    }

    /// Removes the address from an error, because its query may hold secrets.
    fn without_secrets(&self, problem: &str) -> String {
        match &self.place {
            SourceKind::File(_) => problem.to_owned(),
            SourceKind::Url { url, .. } => problem.replace(url, &redacted_url(url)),
        }
    }
}

/// The name of the source, for messages.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            SourceKind::File(path) => path.display().fmt(f),
            SourceKind::Url { url, .. } => f.write_str(&redacted_url(url)),
        }
    }
}

fn read_file(path: &Path, max_bytes: usize) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    // One byte more than allowed tells a file that is too large.
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut content).map_err(|error| error.to_string())?;
    if content.len() > max_bytes {
        return Err(format!("it is larger than {max_bytes} bytes"));
    }
    Ok(content)
}

/// The HTTP client. It follows no redirects: the operator's setting decides where keys come from,
/// and a server cannot change that.
fn agent(url: &str, authorities: Option<&Path>) -> Result<Agent, ConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = authorities.map_or(Ok(RootCerts::WebPki), certificates)?;
    let tls =
        TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots).build();
    let is_https = url.starts_with("https://");
    let config = Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .https_only(is_https)
        .tls_config(tls)
        // A provider that rotates keys may move too, so every request looks the name up again.
        .max_idle_connections(0)
        .user_agent(concat!("orderhub/", env!("CARGO_PKG_VERSION")));
    // A server on this machine must not be asked through a proxy.
    let config = if is_https { config } else { config.proxy(None) };
    Ok(config.build().into())
}

/// The certificates of `JWT_JWKS_CA`.
fn certificates(path: &Path) -> Result<RootCerts, ConfigError> {
    let refused =
        |problem: String| ConfigError::new("JWT_JWKS_CA", format!("{}: {problem}", path.display()));
    let pem = read_file(path, 1024 * 1024).map_err(refused)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(refused("it holds no certificate in PEM".to_owned()));
    }
    Ok(RootCerts::from(certificates))
}

fn fetch(agent: &Agent, url: &str, max_bytes: usize) -> Result<Vec<u8>, String> {
    let answer = agent.get(url).header("accept", "application/json").call();
    let mut answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    if status.is_redirection() {
        return Err(format!("it answers {status}, and redirects are not followed"));
    }
    if status != ureq::http::StatusCode::OK {
        return Err(format!("it answers {status}"));
    }
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    let body = answer.body_mut().with_config().limit(limit).read_to_vec();
    body.map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(_) => format!("it is larger than {max_bytes} bytes"),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_without_a_byte_order_mark() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("keys.toml");
        for (written, read) in [("\u{feff}[[keys]]\n", "[[keys]]\n"), ("", ""), ("\u{feff}", "")] {
            std::fs::write(&path, written).expect("writes");
            assert_eq!(KeySource::file(&path, 20).read(), Ok(read.as_bytes().to_vec()));
        }
    }
}
