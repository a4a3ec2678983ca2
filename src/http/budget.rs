//! The budget of bytes for request bodies and answers in progress, in all and for each user.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::{LimitKey, LimitReached, Requester};
use crate::config::HttpConfig;
use crate::permits::{KeyedPermit, KeyedPermits, Permit, Permits};

/// One part in this many is for requests without a valid token, and another for back ends and
/// admins.
const SHARE: usize = 4;

/// The longest body of a request without a valid token: enough for a login with its data.
pub(super) const MAX_UNKNOWN_BODY: usize = 32 * 1024;

/// The byte budget of one hub.
#[derive(Debug)]
pub struct ByteBudget {
    users: Permits,
    trusted: Permits,
    unknown: Permits,
    by_limit_key: Arc<KeyedPermits<LimitKey>>,
}

/// The bytes charged for one request and its answer.
#[derive(Debug)]
pub(super) struct Charge {
    pool: Permits,
    taken: Option<Permit>,
    limit_key: Option<KeyedPermit<LimitKey>>,
}

/// The charge, as a route finds it in its request.
#[derive(Debug, Clone)]
pub(super) struct BodyCharge(pub(super) Rc<RefCell<Charge>>);

// === impl ByteBudget ===

impl ByteBudget {
    /// The budget that these settings give.
    pub fn new(config: &HttpConfig) -> Self {
        let share = config.buffer_bytes / SHARE;
        Self {
            users: Permits::new(config.buffer_bytes - 2 * share),
            trusted: Permits::new(share),
            unknown: Permits::new(share),
            by_limit_key: KeyedPermits::new(config.buffer_bytes_per_user),
        }
    }

    /// Bytes in use.
    pub fn taken(&self) -> usize {
        self.users.taken() + self.trusted.taken() + self.unknown.taken()
    }

    pub(super) fn charge(&self, requester: &Requester) -> Charge {
        let (pool, limit_key) = match requester {
            Requester::Unauthenticated => (&self.unknown, None),
            Requester::Trusted => (&self.trusted, None),
            Requester::Authenticated(limit_key) => {
                (&self.users, Some(self.by_limit_key.none(limit_key)))
            }
        };
        Charge { pool: pool.clone(), taken: None, limit_key }
    }
}

// === impl Charge ===

impl Charge {
    /// Charges `bytes` more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), LimitReached> {
        if self.limit_key.as_mut().is_some_and(|limit_key| !limit_key.grow(bytes)) {
            return Err(LimitReached::User);
        }
        let more = self.pool.take_many(bytes).ok_or(LimitReached::Node)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

// === impl BodyCharge ===

impl BodyCharge {
    /// Charges `bytes` more. False where the budget has too few left.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        self.0.borrow_mut().grow(bytes).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const MIB: usize = 1 << 20;

    #[test]
    fn users_have_a_share_each_and_neither_they_nor_the_unauthenticated_take_that_of_admins() {
        let flags = ["--jwt-secret", "secret-for-tests-only-0123456789abcdef"];
        let flags = flags.into_iter().chain(["--http-buffer-bytes", "8388608"]);
        let flags = flags.chain(["--http-buffer-bytes-per-user", "2097152"]);
        let budget = ByteBudget::new(&Config::from_flags(flags).expect("settings").http);
        let user =
            |name: &str| Requester::Authenticated(LimitKey::User(name.parse().expect("an id")));
        let mut ann = budget.charge(&user("ann"));
        assert_eq!(
            (ann.grow(MIB), ann.grow(MIB), ann.grow(1)),
            (Ok(()), Ok(()), Err(LimitReached::User))
        );
        let mut stranger = budget.charge(&Requester::Unauthenticated);
        assert_eq!((stranger.grow(2 * MIB), stranger.grow(1)), (Ok(()), Err(LimitReached::Node)));
        let mut back_end = budget.charge(&Requester::Trusted);
        let mut bob = budget.charge(&user("bob"));
        assert_eq!(bob.grow(2 * MIB), Ok(()));
        assert_eq!(budget.charge(&user("carl")).grow(1), Err(LimitReached::Node));
        assert_eq!((back_end.grow(2 * MIB), back_end.grow(1)), (Ok(()), Err(LimitReached::Node)));
        drop((ann, bob, stranger, back_end));
        assert_eq!(budget.taken(), 0);
        assert_eq!(budget.charge(&user("ann")).grow(2 * MIB), Ok(()));
    }
}
