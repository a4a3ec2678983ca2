//! What a failed query says of the database: the one place that judges errors.
//!
//! Diesel keeps SQLSTATE to itself but for a few kinds, and a server may speak another language than
//! English. So an error that nothing here knows is [`Fault::Unexplained`]: its work is done once more
//! on a new connection, and what fails there too is the data's fault.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind as Kind, Error};

/// A statement that ran this long has met a timeout: the databases allow two seconds.
const TIMED_OUT_AFTER: Duration = Duration::from_millis(1500);

/// Whose fault an error is, and so what becomes of the work and of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is gone, and with it the transaction.
    Lost,
    /// The connection was lost during the commit: only the database knows whether it happened.
    LostInCommit,
    /// The connection is alive and of no use: its server takes no writes any more, or what was
    /// prepared on it does not fit the tables any more. Those of the same age are no better.
    Useless,
    /// Another transaction was in the way; a second try may pass.
    Conflict,
    /// The database has no room left.
    Full,
    /// The database cannot serve now: locked, slow, or not set up.
    Unavailable,
    /// The data is refused, and would be again.
    Refused,
    /// Nothing is known of this error.
    Unexplained,
}

/// What the databases say where Diesel has no kind for it.
const WORDS: &[(&str, Fault)] = &[
    ("terminating connection", Fault::Lost),
    ("server closed the connection", Fault::Lost),
    ("connection to server", Fault::Lost),
    ("no connection to the server", Fault::Lost),
    ("cached plan must not change result type", Fault::Useless),
    ("prepared statement", Fault::Useless),
    ("deadlock detected", Fault::Conflict),
    ("could not serialize", Fault::Conflict),
    ("No space left on device", Fault::Full),
    ("could not extend file", Fault::Full),
    ("database or disk is full", Fault::Full),
    ("disk full", Fault::Full),
    ("invalid byte sequence", Fault::Refused),
    ("value too long", Fault::Refused),
    ("out of range", Fault::Refused),
    ("is locked", Fault::Unavailable),
    ("disk I/O error", Fault::Unavailable),
    ("unable to open database file", Fault::Unavailable),
    ("readonly database", Fault::Unavailable),
    ("database disk image is malformed", Fault::Unavailable),
    ("file is not a database", Fault::Unavailable),
    ("no such table", Fault::Unavailable),
    ("does not exist", Fault::Unavailable),
    ("permission denied", Fault::Unavailable),
    ("due to lock timeout", Fault::Unavailable),
    ("due to statement timeout", Fault::Unavailable),
    ("due to user request", Fault::Unavailable),
    ("the database system is", Fault::Unavailable),
    ("too many connections", Fault::Unavailable),
    ("remaining connection slots", Fault::Unavailable),
    ("out of memory", Fault::Unavailable),
    ("out of shared memory", Fault::Unavailable),
];

/// Judges an error. `took` is how long the failed work ran.
pub fn fault(error: &Error, took: Duration) -> Fault {
    match error {
        Error::DatabaseError(kind, info) => match kind {
            Kind::ClosedConnection | Kind::UnableToSendCommand => Fault::Lost,
            Kind::ReadOnlyTransaction => Fault::Useless,
            Kind::SerializationFailure => Fault::Conflict,
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::NotNullViolation
            | Kind::CheckViolation
            | Kind::RestrictViolation
            | Kind::ExclusionViolation => Fault::Refused,
            _ => by_words(info.message(), took),
        },
        Error::RollbackErrorOnCommit { .. } => Fault::LostInCommit,
        Error::BrokenTransactionManager => Fault::Lost,
        // The connection is not where this program believes it to be.
        Error::AlreadyInTransaction | Error::NotInTransaction => Fault::Useless,
        _ => Fault::Refused,
    }
}

fn by_words(message: &str, took: Duration) -> Fault {
    match WORDS.iter().find(|(words, _)| message.contains(words)) {
        Some((_, fault)) => *fault,
        None if took >= TIMED_OUT_AFTER => Fault::Unavailable,
        None => Fault::Unexplained,
    }
}

/// The error of a commit. Where the connection was lost, it is told apart from one that was lost
/// before: Diesel's word for a commit that could neither be done nor undone.
pub fn in_commit(error: Error) -> Error {
    match fault(&error, Duration::ZERO) {
        Fault::Lost => Error::RollbackErrorOnCommit {
            rollback_error: Box::new(Error::BrokenTransactionManager),
            commit_error: Box::new(error),
        },
        _ => error,
    }
}

// === impl Fault ===

impl Fault {
    /// Whether the connection is to be thrown away.
    pub fn spoils_connection(self) -> bool {
        matches!(self, Self::Lost | Self::LostInCommit | Self::Useless | Self::Unexplained)
    }

    /// Whether another try may pass: nothing was done, and the data may be good.
    pub fn may_pass_again(self) -> bool {
        matches!(self, Self::Lost | Self::Useless | Self::Conflict | Self::Unexplained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: Kind, message: &str) -> Error {
        Error::DatabaseError(kind, Box::new(message.to_owned()))
    }

    #[test]
    fn each_error_has_one_fault() {
        let read_only = "cannot execute INSERT in a read-only transaction";
        let expected = [
            (Kind::ClosedConnection, "server closed the connection unexpectedly", Fault::Lost),
            (Kind::UnableToSendCommand, "no connection to the server", Fault::Lost),
            (Kind::Unknown, "terminating connection due to administrator command", Fault::Lost),
            (Kind::ReadOnlyTransaction, read_only, Fault::Useless),
            (Kind::Unknown, "cached plan must not change result type", Fault::Useless),
            (Kind::Unknown, "prepared statement \"s1\" does not exist", Fault::Useless),
            (Kind::Unknown, "prepared statement \"s1\" already exists", Fault::Useless),
            (Kind::SerializationFailure, "could not serialize access", Fault::Conflict),
            (Kind::Unknown, "deadlock detected", Fault::Conflict),
            (Kind::Unknown, "database or disk is full", Fault::Full),
            (Kind::Unknown, "could not extend file: No space left on device", Fault::Full),
            (Kind::Unknown, "database is locked", Fault::Unavailable),
            (Kind::Unknown, "canceling statement due to lock timeout", Fault::Unavailable),
            (Kind::Unknown, "relation \"orders\" does not exist", Fault::Unavailable),
            (Kind::UniqueViolation, "UNIQUE constraint failed: messages.id", Fault::Refused),
            (Kind::CheckViolation, "new row for relation", Fault::Refused),
            (Kind::Unknown, "invalid byte sequence for encoding \"UTF8\": 0x00", Fault::Refused),
        ];
        for (kind, message, expected) in expected {
            let error = failed(kind, message);
            assert_eq!(fault(&error, Duration::ZERO), expected, "{message}");
        }
        assert_eq!(fault(&Error::BrokenTransactionManager, Duration::ZERO), Fault::Lost);
        assert_eq!(fault(&Error::NotFound, Duration::ZERO), Fault::Refused);
    }

    #[test]
    fn what_ran_into_a_timeout_is_known_by_its_time_whatever_the_language() {
        let error = failed(Kind::Unknown, "storniere Anfrage wegen Zeitüberschreitung");
        assert_eq!(fault(&error, Duration::from_secs(2)), Fault::Unavailable);
        assert_eq!(fault(&error, Duration::ZERO), Fault::Unexplained);
    }

    #[test]
    fn only_a_connection_that_was_lost_leaves_a_commit_open() {
        let lost = in_commit(failed(Kind::ClosedConnection, "gone"));
        assert_eq!(fault(&lost, Duration::ZERO), Fault::LostInCommit);
        let refused = in_commit(failed(Kind::SerializationFailure, "could not serialize access"));
        assert_eq!(fault(&refused, Duration::ZERO), Fault::Conflict);
    }
}
