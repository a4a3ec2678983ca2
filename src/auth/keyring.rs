//! The valid keys: those of the settings, and those of a source that may change while the hub runs.
//!
//! Tokens are verified on worker threads, which must not wait. So the keys are read without a lock,
//! and a token with an unknown key only requests a new fetch.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use tokio::sync::watch;

use super::AuthError;
use super::claims::invalid;
use super::keys::VerificationKey;

/// The valid keys.
pub(super) struct Keyring {
    /// The keys of the settings, which have no names.
    fixed: Vec<VerificationKey>,
    /// The keys of a source, if there is one.
    fetched: Option<Arc<FetchedKeys>>,
}

/// The keys of a source.
pub(super) struct FetchedKeys {
    /// None until the first successful read; after that, the keys of the last one.
    keys: ArcSwapOption<Vec<VerificationKey>>,
    /// Decides the answer to tokens with unknown keys.
    state: watch::Sender<FetchState>,
    /// The thread that fetches; set when it starts.
    fetcher: OnceLock<Thread>,
}

/// What happens to a token whose key the source does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchState {
    /// It waits, and starts a new fetch.
    Calm,
    /// It waits, because a fetch is under way.
    Asked,
    /// It is refused: a fetch was just done, and invalid tokens must not cause fetches all the
    /// time.
    Resting,
    /// It is refused for now: the source does not answer, so the key cannot be looked up.
    Down,
}

// === impl Keyring ===

impl Keyring {
    pub(super) fn new(fixed: Vec<VerificationKey>, fetched: Option<Arc<FetchedKeys>>) -> Self {
        Self { fixed, fetched }
    }

    /// The keys that change while the hub runs.
    pub(super) fn fetched(&self) -> Option<&Arc<FetchedKeys>> {
        self.fetched.as_ref()
    }

    /// The algorithms of all keys.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let fetched = self.fetched.as_ref().and_then(|fetched| fetched.keys.load_full());
        let fetched = fetched.iter().flat_map(|keys| keys.iter());
        self.fixed.iter().chain(fetched).map(|key| key.algorithm).collect()
    }

    /// Returns the first success of `fits` among the keys that fit the token: by algorithm, and
    /// by name if both have one.
    pub(super) fn try_keys<T>(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        fits: impl Fn(&VerificationKey) -> Option<T>,
    ) -> Result<T, AuthError> {
        let fetched = self.fetched.as_ref().map(|fetched| fetched.keys.load());
        let fetched = fetched.as_ref().and_then(|keys| keys.as_deref());
        let chosen = fetched.and_then(|keys| select_key(keys, algorithm, id));
        let fixed = self.fixed.iter().filter(|key| key.algorithm == algorithm);
        let mut candidates = chosen.into_iter().chain(fixed).peekable();
        let any = candidates.peek().is_some();
        if let Some(found) = candidates.find_map(fits) {
            return Ok(found);
        }
        let is_named = id.is_some() && chosen.is_some();
        match &self.fetched {
            Some(fetched) if !is_named && is_asymmetric(algorithm) => Err(fetched.on_unknown_key()),
            _ if any => Err(invalid("its signature is wrong")),
            _ => Err(AuthError::Invalid(format!("there is no key for {algorithm:?}").into())),
        }
    }
}

/// The key for a token in a set: by its name or, if it has none, the only key of its algorithm.
fn select_key<'k>(
    keys: &'k [VerificationKey],
    algorithm: Algorithm,
    id: Option<&str>,
) -> Option<&'k VerificationKey> {
    let mut of_algorithm = keys.iter().filter(|key| key.algorithm == algorithm);
    match id {
        Some(id) => of_algorithm.find(|key| key.id.as_deref() == Some(id)),
        None => of_algorithm.next().filter(|_| of_algorithm.next().is_none()),
    }
}

/// Whether a source may have keys of this algorithm.
fn is_asymmetric(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA)
}

// === impl FetchedKeys ===

impl FetchedKeys {
    /// Starts with the keys that are known already. Without any, a fetch is under way.
    pub(super) fn new(keys: Option<Vec<VerificationKey>>) -> Self {
        let state = if keys.is_some() { FetchState::Calm } else { FetchState::Asked };
        Self {
            keys: ArcSwapOption::from_pointee(keys),
            state: watch::Sender::new(state),
            fetcher: OnceLock::new(),
        }
    }

    /// Sets the thread that fetches, which is woken when a token needs it.
    pub(super) fn set_fetcher(&self, thread: Thread) {
        // A second thread would wake only by its own clock.
        self.fetcher.set(thread).ok();
    }

    /// Replaces all keys.
    pub(super) fn replace(&self, keys: Vec<VerificationKey>) {
        self.keys.store(Some(Arc::new(keys)));
    }

    pub(super) fn state(&self) -> FetchState {
        *self.state.borrow()
    }

    /// Computes the next state from the current one, and returns it. Waiting tokens are notified.
    pub(super) fn update_state(&self, next: impl FnOnce(FetchState) -> FetchState) -> FetchState {
        self.state.send_if_modified(|state| {
            let before = std::mem::replace(state, next(*state));
            *state != before
        });
        self.state()
    }

    /// Receives the next change of state.
    pub(super) fn watch(&self) -> watch::Receiver<FetchState> {
        self.state.subscribe()
    }

    /// The token's key is unknown: requests a new fetch, and returns the answer to the token.
    fn on_unknown_key(&self) -> AuthError {
        let asked = self.state.send_if_modified(|state| {
            let is_first = *state == FetchState::Calm;
            if is_first {
                *state = FetchState::Asked;
            }
            is_first
        });
        if asked && let Some(fetcher) = self.fetcher.get() {
            fetcher.unpark();
        }
        match self.state() {
            FetchState::Resting => invalid("none of the keys of JWT_JWKS is its key"),
            FetchState::Down => AuthError::Unavailable,
            FetchState::Calm | FetchState::Asked => AuthError::Pending,
        }
    }
}
