//! Why the store did not do what it was asked.

use crate::db::commit_batch::ChatRefusal;
use crate::db::pool::DbError;

/// Why the store did not do what it was asked. Chat has an error type of its own,
/// [`ChatWriteError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too much waits already, or this has waited too long.
    #[error("the store is busy")]
    Busy,
    /// The database cannot serve now.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database refused this, and would again.
    #[error("the database refused the work: {0}")]
    Refused(String),
    /// The store has stopped, or there is no actor system to start it in.
    #[error("the store is closed")]
    Closed,
}

/// Why a message was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChatWriteError {
    /// The sender has used the same key for other content.
    #[error("the key belongs to another message")]
    Conflict,
    /// Its order was deleted.
    #[error("the order was deleted")]
    Gone,
    /// Its order has changed since the sender's right was judged. The room judges anew.
    #[error("the order has changed")]
    Outdated,
    /// The database refused it, and would again.
    #[error("the database refused the message")]
    Refused,
    /// The database did not store it. If the connection was lost during the commit, it may have
    /// been stored all the same; a retry with the same key finds out.
    #[error("the store is unavailable")]
    Unavailable,
}

impl From<ChatRefusal> for ChatWriteError {
    fn from(refusal: ChatRefusal) -> Self {
        match refusal {
            ChatRefusal::Conflict => Self::Conflict,
            ChatRefusal::Gone => Self::Gone,
            ChatRefusal::Outdated => Self::Outdated,
        }
    }
}

/// Why a query failed on its thread.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("a panic")]
    Panic,
}

impl QueryError {
    /// Whether other queries would have failed too.
    pub(super) fn is_down(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unavailable())
    }
}

impl From<QueryError> for StoreError {
    fn from(error: QueryError) -> Self {
        if error.is_down() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}
