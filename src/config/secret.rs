//! Secrets: texts that must not be shown, and where they are read from.

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::ConfigError;
use protocol::lenient::without_mark;

/// A text that is never logged or displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A URL without user, password, query and fragment; other texts as they are.
pub fn redacted_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, cut) = match rest.split_once(['?', '#']) {
        // A password may contain such a character, too.
        Some((_, behind)) if behind.contains('@') => (behind, ""),
        Some((before, _)) => (before, "?***"),
        None => (rest, ""),
    };
    let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    format!("{scheme}://{login}{rest}{cut}")
}

/// The text of a setting that may also be given in a file, with the variable that it came from. The
/// command line takes precedence over the environment here too; two sources of the same rank are
/// an error.
pub(super) fn value_or_file(
    matches: &ArgMatches,
    variable: &str,
    value: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<(String, String)>, ConfigError> {
    let rank = |variable: &str| match matches.value_source(&variable.to_ascii_lowercase()) {
        Some(ValueSource::CommandLine) => 2,
        Some(ValueSource::EnvVariable) => 1,
        _ => 0,
    };
    let file_variable = format!("{variable}_FILE");
    match (rank(variable).cmp(&rank(&file_variable)), value, file) {
        (Ordering::Greater, Some(text), _) => Ok(Some((variable.to_owned(), text))),
        (Ordering::Less, _, Some(file)) => {
            let text = read(&file_variable, &file)?;
            Ok(Some((file_variable, text)))
        }
        (_, None, None) => Ok(None),
        _ => {
            let problem = format!("{file_variable} is set as well; only one of them is allowed");
            Err(ConfigError::new(variable, problem))
        }
    }
}

/// Reads a secret from a file. Line ends at the end and a byte-order mark are ignored, because
/// editors and `echo` add them.
pub(super) fn read(variable: &str, path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::new(variable, format!("cannot read {}: {error}", path.display()))
    })?;
    let text = without_mark(&text).trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(ConfigError::new(variable, format!("{} is empty", path.display())));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_a_secret() {
        for (url, shown) in [
            ("https://id.example/jwks.json", "https://id.example/jwks.json"),
            ("https://id.example/jwks?key=secret", "https://id.example/jwks?***"),
            ("https://hub:secret@id.example/jwks#secret", "https://***@id.example/jwks?***"),
            ("https://hub:secret?secret@id.example/jwks", "https://***@id.example/jwks"),
            ("https://hub:secret/secret@id.example", "https://***@id.example"),
            ("jwks.json", "jwks.json"),
        ] {
            assert_eq!(redacted_url(url), shown);
        }
    }
}
