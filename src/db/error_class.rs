//! Classifies errors of queries. No other file does.
//!
//! Diesel keeps SQLSTATE to itself but for a few kinds, and a server may use another language than
//! English. So an error that no rule here matches is [`ErrorClass::Unexplained`]: the work is done
//! once more on a new connection, and a second failure counts as the fault of the data.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind as Kind, Error};

/// A statement that ran this long was ended by a timeout: the databases allow two seconds.
const TIMED_OUT_AFTER: Duration = Duration::from_millis(1500);

/// What an error means for the work that failed and for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The connection is gone, and with it the transaction.
    Lost,
    /// The connection was lost during the commit, so the commit may or may not have happened.
    LostInCommit,
    /// The connection is alive but unusable: its server takes no writes any more, or its prepared
    /// statements no longer fit the tables. Connections of the same generation have the same problem.
    Unusable,
    /// Another transaction was in the way; another try may succeed.
    Conflict,
    /// The database has no room left.
    Full,
    /// The database cannot serve now: locked, slow, or not set up.
    Unavailable,
    /// The database refuses the data, and would refuse it again.
    Refused,
    /// No rule matches this error.
    Unexplained,
}

/// Messages of the databases for which Diesel has no kind.
const MESSAGES: &[(&str, ErrorClass)] = &[
    ("terminating connection", ErrorClass::Lost),
    ("server closed the connection", ErrorClass::Lost),
    ("connection to server", ErrorClass::Lost),
    ("no connection to the server", ErrorClass::Lost),
    ("cached plan must not change result type", ErrorClass::Unusable),
    ("prepared statement", ErrorClass::Unusable),
    ("deadlock detected", ErrorClass::Conflict),
    ("could not serialize", ErrorClass::Conflict),
    ("No space left on device", ErrorClass::Full),
    ("could not extend file", ErrorClass::Full),
    ("database or disk is full", ErrorClass::Full),
    ("disk full", ErrorClass::Full),
    ("invalid byte sequence", ErrorClass::Refused),
    ("value too long", ErrorClass::Refused),
    ("out of range", ErrorClass::Refused),
    ("is locked", ErrorClass::Unavailable),
    ("disk I/O error", ErrorClass::Unavailable),
    ("unable to open database file", ErrorClass::Unavailable),
    ("readonly database", ErrorClass::Unavailable),
    ("database disk image is malformed", ErrorClass::Unavailable),
    ("file is not a database", ErrorClass::Unavailable),
    ("no such table", ErrorClass::Unavailable),
    ("does not exist", ErrorClass::Unavailable),
    ("permission denied", ErrorClass::Unavailable),
    ("due to lock timeout", ErrorClass::Unavailable),
    ("due to statement timeout", ErrorClass::Unavailable),
    ("due to user request", ErrorClass::Unavailable),
    ("the database system is", ErrorClass::Unavailable),
    ("too many connections", ErrorClass::Unavailable),
    ("remaining connection slots", ErrorClass::Unavailable),
    ("out of memory", ErrorClass::Unavailable),
    ("out of shared memory", ErrorClass::Unavailable),
];

/// Classifies an error. `took` is how long the failed work ran.
pub fn classify(error: &Error, took: Duration) -> ErrorClass {
    match error {
        Error::DatabaseError(kind, info) => match kind {
            Kind::ClosedConnection | Kind::UnableToSendCommand => ErrorClass::Lost,
            Kind::ReadOnlyTransaction => ErrorClass::Unusable,
            Kind::SerializationFailure => ErrorClass::Conflict,
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::NotNullViolation
            | Kind::CheckViolation
            | Kind::RestrictViolation
            | Kind::ExclusionViolation => ErrorClass::Refused,
            _ => classify_message(info.message(), took),
        },
        Error::RollbackErrorOnCommit { .. } => ErrorClass::LostInCommit,
        Error::BrokenTransactionManager => ErrorClass::Lost,
        // The connection's transaction state is not what this program assumes.
        Error::AlreadyInTransaction | Error::NotInTransaction => ErrorClass::Unusable,
        _ => ErrorClass::Refused,
    }
}

fn classify_message(message: &str, took: Duration) -> ErrorClass {
    match MESSAGES.iter().find(|(words, _)| message.contains(words)) {
        Some((_, class)) => *class,
        None if took >= TIMED_OUT_AFTER => ErrorClass::Unavailable,
        None => ErrorClass::Unexplained,
    }
}

/// The error of a commit. A connection lost during a commit becomes Diesel's error for a commit
/// that could neither be done nor undone, so that it differs from one lost before the commit.
pub fn commit_error(error: Error) -> Error {
    match classify(&error, Duration::ZERO) {
        ErrorClass::Lost => Error::RollbackErrorOnCommit {
            rollback_error: Box::new(Error::BrokenTransactionManager),
            commit_error: Box::new(error),
        },
        _ => error,
    }
}

// === impl ErrorClass ===

impl ErrorClass {
    /// Whether the pool must throw the connection away.
    pub fn discards_connection(self) -> bool {
        matches!(self, Self::Lost | Self::LostInCommit | Self::Unusable | Self::Unexplained)
    }

    /// Whether another try may succeed: nothing was done, and the data may be valid.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Lost | Self::Unusable | Self::Conflict | Self::Unexplained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: Kind, message: &str) -> Error {
        Error::DatabaseError(kind, Box::new(message.to_owned()))
    }

    #[test]
    fn each_error_has_one_class() {
        let read_only = "cannot execute INSERT in a read-only transaction";
        let expected = [
            (Kind::ClosedConnection, "server closed the connection unexpectedly", ErrorClass::Lost),
            (Kind::UnableToSendCommand, "no connection to the server", ErrorClass::Lost),
            (
                Kind::Unknown,
                "terminating connection due to administrator command",
                ErrorClass::Lost,
            ),
            (Kind::ReadOnlyTransaction, read_only, ErrorClass::Unusable),
            (Kind::Unknown, "cached plan must not change result type", ErrorClass::Unusable),
            (Kind::Unknown, "prepared statement \"s1\" does not exist", ErrorClass::Unusable),
            (Kind::Unknown, "prepared statement \"s1\" already exists", ErrorClass::Unusable),
            (Kind::SerializationFailure, "could not serialize access", ErrorClass::Conflict),
            (Kind::Unknown, "deadlock detected", ErrorClass::Conflict),
            (Kind::Unknown, "database or disk is full", ErrorClass::Full),
            (Kind::Unknown, "could not extend file: No space left on device", ErrorClass::Full),
            (Kind::Unknown, "database is locked", ErrorClass::Unavailable),
            (Kind::Unknown, "canceling statement due to lock timeout", ErrorClass::Unavailable),
            (Kind::Unknown, "relation \"orders\" does not exist", ErrorClass::Unavailable),
            (Kind::UniqueViolation, "UNIQUE constraint failed: messages.id", ErrorClass::Refused),
            (Kind::CheckViolation, "new row for relation", ErrorClass::Refused),
            (
                Kind::Unknown,
                "invalid byte sequence for encoding \"UTF8\": 0x00",
                ErrorClass::Refused,
            ),
        ];
        for (kind, message, expected) in expected {
            let error = failed(kind, message);
            assert_eq!(classify(&error, Duration::ZERO), expected, "{message}");
        }
        assert_eq!(classify(&Error::BrokenTransactionManager, Duration::ZERO), ErrorClass::Lost);
        assert_eq!(classify(&Error::NotFound, Duration::ZERO), ErrorClass::Refused);
    }

    #[test]
    fn a_timeout_is_recognised_by_its_time_in_every_language() {
        let error = failed(Kind::Unknown, "storniere Anfrage wegen Zeitüberschreitung");
        assert_eq!(classify(&error, Duration::from_secs(2)), ErrorClass::Unavailable);
        assert_eq!(classify(&error, Duration::ZERO), ErrorClass::Unexplained);
    }

    #[test]
    fn only_a_connection_that_was_lost_leaves_a_commit_open() {
        let lost = commit_error(failed(Kind::ClosedConnection, "gone"));
        assert_eq!(classify(&lost, Duration::ZERO), ErrorClass::LostInCommit);
        let refused =
            commit_error(failed(Kind::SerializationFailure, "could not serialize access"));
        assert_eq!(classify(&refused, Duration::ZERO), ErrorClass::Conflict);
    }
}
