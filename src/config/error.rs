//! The error for an invalid setting.

/// An invalid setting: its name, and what is allowed. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    /// The environment variable of the setting; its flag is the same word in another case.
    pub variable: String,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl ConfigError {
    /// A problem with the setting of this variable.
    pub fn new(variable: &str, problem: impl Into<String>) -> Self {
        Self { variable: variable.to_owned(), problem: problem.into() }
    }
}
