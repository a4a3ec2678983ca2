//! Why a connection to Redis ended, or could not be made.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::bus::State;

/// Why a connection to Redis ended, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It could not be made, broke, or gave no answer in time.
    #[error("{0}")]
    Lost(String),
    /// The node did not hear itself.
    #[error("the server accepts the connection and delivers no messages")]
    Deaf,
    /// A server ended a subscription by itself.
    #[error("a server has ended subscriptions")]
    Unsubscribed,
    /// A channel belongs to another server now.
    #[error("a slot has moved to another server")]
    Moved,
    /// The servers of the cluster are other ones now, or share the slots in another way.
    #[error("the servers of the cluster have changed")]
    Topology,
    /// More came in than the workers could take.
    #[error("this node received more than it could process")]
    Overflow,
    /// The server is a replica, or has become one.
    #[error("the server is a replica: it must be the master")]
    Replica,
    /// The login or a command was refused.
    #[error("{0}; the user needs the commands and channels that docs/cluster.md lists")]
    Refused(String),
    /// TLS failed, most often for the certificate.
    #[error("TLS: {0} (REDIS_CA names the trusted authorities)")]
    Tls(String),
    /// What answers is no Redis.
    #[error("the server does not speak Redis (or it needs TLS: rediss://)")]
    NotRedis,
    /// The server is older than the sharded channels of Redis 7.
    #[error("Redis {0} is too old: it must be 7.0 or newer, or any Valkey")]
    TooOld(String),
    /// The server is a Sentinel.
    #[error("the server is a Sentinel: write redis+sentinel://HOST,…/MASTER")]
    IsSentinel,
    /// The Sentinels do not have this master.
    #[error("the Sentinels know no reachable master of this name")]
    UnknownMaster,
}

impl Failure {
    /// The names for metrics.
    pub(in super::super) const NAMES: &[&str] = &[
        "lost",
        "deaf",
        "unsubscribed",
        "moved",
        "topology",
        "overflow",
        "replica",
        "refused",
        "unusable",
    ];

    /// The place of its name in [`Self::NAMES`].
    pub(super) fn index(&self) -> usize {
        match self {
            Self::Lost(_) => 0,
            Self::Deaf => 1,
            Self::Unsubscribed => 2,
            Self::Moved => 3,
            Self::Topology => 4,
            Self::Overflow => 5,
            Self::Replica => 6,
            Self::Refused(_) => 7,
            Self::Tls(_)
            | Self::NotRedis
            | Self::TooOld(_)
            | Self::IsSentinel
            | Self::UnknownMaster => 8,
        }
    }

    /// The state of a bus with such a failure.
    pub(super) fn state(&self) -> State {
        match self {
            Self::Deaf | Self::Unsubscribed | Self::Moved | Self::Topology | Self::Overflow => {
                State::Deaf
            }
            _ => State::Down,
        }
    }

    /// Whether only a change of the settings or of the server mends it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self.state(), State::Deaf) && !matches!(self, Self::Lost(_))
    }

    /// A failure with an address in front, where that is not obvious.
    pub(super) fn at(self, address: &str) -> Self {
        match self {
            Self::Lost(problem) => Self::Lost(format!("{address}: {problem}")),
            other => other,
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => Self::Moved,
            ErrorKind::Server(ServerErrorKind::NoPerm) | ErrorKind::AuthenticationFailed => {
                Self::Refused(error.to_string())
            }
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::NotRedis,
            ErrorKind::RESP3NotSupported => Self::TooOld("before 6".to_owned()),
            ErrorKind::MasterNameNotFoundBySentinel => Self::UnknownMaster,
            _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPROTO")) => {
                Self::Refused(error.to_string())
            }
            _ if is_tls(&error) => Self::Tls(error.to_string()),
            _ if error.is_timeout() => Self::Lost("no answer in time".to_owned()),
            _ => Self::Lost(error.to_string()),
        }
    }
}

/// Errors of TLS come as invalid data.
fn is_tls(error: &RedisError) -> bool {
    let source = Error::source(error);
    // The library shares its errors.
    let shared = source.and_then(|source| source.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let io = shared.and_then(|error| error.downcast_ref::<io::Error>());
    io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData)
}
