//! Whether a failed query is the fault of its data or of the database around it.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind as Kind, Error};

/// A statement that ran this long has met a timeout: the databases allow two seconds.
const TIMED_OUT_AFTER: Duration = Duration::from_millis(1500);

/// Words of SQLite and PostgreSQL for trouble that no other data would cure. Neither Diesel nor
/// SQLite gives a code here; a translated server is caught by [`TIMED_OUT_AFTER`] or by its kind.
const TROUBLE: &[&str] = &[
    "database is locked",
    "database table is locked",
    "database schema is locked",
    "disk I/O error",
    "database or disk is full",
    "unable to open database file",
    "readonly database",
    "database disk image is malformed",
    "file is not a database",
    "no such table",
    "does not exist",
    "due to lock timeout",
    "due to statement timeout",
    "due to user request",
    "terminating connection",
    "the database system is",
    "connection",
    "No space left on device",
    "could not extend file",
    "out of memory",
    "out of shared memory",
];

/// Whether the connection itself is gone.
pub fn is_closed(error: &Error) -> bool {
    match error {
        Error::DatabaseError(Kind::ClosedConnection | Kind::UnableToSendCommand, _)
        | Error::BrokenTransactionManager => true,
        Error::DatabaseError(Kind::Unknown, info) => {
            let message = info.message();
            ["terminating connection", "server closed the connection", "connection to server"]
                .iter()
                .any(|words| message.contains(words))
        }
        Error::RollbackErrorOnCommit { rollback_error, commit_error } => {
            is_closed(rollback_error) || is_closed(commit_error)
        }
        _ => false,
    }
}

/// Whether the database cannot serve now: gone, locked, full or not set up. `took` is how long the
/// failed work ran.
pub fn is_unavailable(error: &Error, took: Duration) -> bool {
    match error {
        Error::DatabaseError(Kind::ReadOnlyTransaction, _)
        | Error::RollbackErrorOnCommit { .. } => true,
        Error::DatabaseError(Kind::Unknown, info) => {
            took >= TIMED_OUT_AFTER || TROUBLE.iter().any(|words| info.message().contains(words))
        }
        error => is_closed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: Kind, message: &str) -> Error {
        Error::DatabaseError(kind, Box::new(message.to_owned()))
    }

    #[test]
    fn a_locked_or_vanished_database_is_not_the_messages_fault() {
        for error in [
            failed(Kind::Unknown, "database is locked"),
            failed(Kind::Unknown, "canceling statement due to lock timeout"),
            failed(Kind::ClosedConnection, "server closed the connection unexpectedly"),
            failed(Kind::UnableToSendCommand, "no connection to the server"),
            failed(Kind::ReadOnlyTransaction, "cannot execute INSERT in a read-only transaction"),
            Error::BrokenTransactionManager,
        ] {
            assert!(is_unavailable(&error, Duration::ZERO), "{error}");
        }
    }

    #[test]
    fn refused_data_is() {
        for error in [
            failed(Kind::UniqueViolation, "UNIQUE constraint failed: messages.id"),
            failed(Kind::Unknown, "invalid byte sequence for encoding \"UTF8\": 0x00"),
            Error::NotFound,
        ] {
            assert!(!is_unavailable(&error, Duration::ZERO), "{error}");
        }
    }

    #[test]
    fn what_ran_into_a_timeout_is_known_by_its_time_whatever_the_language() {
        let error = failed(Kind::Unknown, "storniere Anfrage wegen Zeitüberschreitung");
        assert!(is_unavailable(&error, Duration::from_secs(2)));
        assert!(!is_unavailable(&error, Duration::ZERO));
    }
}
