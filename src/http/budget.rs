//! How many bytes of request bodies and answers may be under way, in all and for each user.

use std::sync::Arc;

use super::connection::{Full, Sender, Subject};
use crate::config::HttpConfig;
use crate::permits::{KeyedPermit, KeyedPermits, Permit, Permits};

/// One in so many bytes may be a body of a request without a good token.
const UNKNOWN_SHARE: usize = 4;

/// The bytes of one hub.
#[derive(Debug)]
pub struct ByteBudget {
    known: Permits,
    unknown: Permits,
    by_subject: Arc<KeyedPermits<Subject>>,
}

/// The bytes of one request and its answer.
#[derive(Debug)]
pub(super) struct Charge {
    pool: Permits,
    taken: Option<Permit>,
    subject: Option<KeyedPermit<Subject>>,
}

// === impl ByteBudget ===

impl ByteBudget {
    /// Of a hub with these settings.
    pub fn new(config: &HttpConfig) -> Self {
        let unknown = config.buffer_bytes / UNKNOWN_SHARE;
        Self {
            known: Permits::new(config.buffer_bytes - unknown),
            unknown: Permits::new(unknown),
            by_subject: KeyedPermits::new(config.buffer_bytes_per_user),
        }
    }

    /// Bytes under way.
    pub fn taken(&self) -> usize {
        self.known.taken() + self.unknown.taken()
    }

    pub(super) fn charge(&self, sender: &Sender) -> Charge {
        let (pool, subject) = match sender {
            Sender::Unknown => (&self.unknown, None),
            Sender::Trusted => (&self.known, None),
            Sender::Known(subject) => (&self.known, Some(self.by_subject.none(subject))),
        };
        Charge { pool: pool.clone(), taken: None, subject }
    }
}

// === impl Charge ===

impl Charge {
    /// So many bytes more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        if self.subject.as_mut().is_some_and(|subject| !subject.grow(bytes)) {
            return Err(Full::User);
        }
        let more = self.pool.take_many(bytes).ok_or(Full::Node)?;
        match &mut self.taken {
            Some(taken) => taken.absorb(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_user_has_a_share_and_requests_without_a_token_have_one_together() {
        let flags = ["--jwt-secret", "secret-for-tests-only-0123456789abcdef"];
        let flags = flags.into_iter().chain(["--http-buffer-bytes", "8388608"]);
        let flags = flags.chain(["--http-buffer-bytes-per-user", "2097152"]);
        let budget = ByteBudget::new(&Config::from_flags(flags).expect("settings").http);
        let user = |name: &str| Sender::Known(Subject::User(name.parse().expect("an id")));
        let mut ann = budget.charge(&user("ann"));
        assert_eq!((ann.grow(MIB), ann.grow(MIB), ann.grow(1)), (Ok(()), Ok(()), Err(Full::User)));
        let mut stranger = budget.charge(&Sender::Unknown);
        assert_eq!((stranger.grow(2 * MIB), stranger.grow(1)), (Ok(()), Err(Full::Node)));
        let mut back_end = budget.charge(&Sender::Trusted);
        assert_eq!((back_end.grow(4 * MIB), back_end.grow(1)), (Ok(()), Err(Full::Node)));
        assert_eq!(budget.charge(&user("bob")).grow(1), Err(Full::Node));
        drop((ann, stranger, back_end));
        assert_eq!(budget.taken(), 0);
        assert_eq!(budget.charge(&user("ann")).grow(2 * MIB), Ok(()));
    }
}
