//! What is said about a setting that cannot work.

/// A setting that cannot work: which, and what is allowed. Never holds a secret.
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
