//! The keys in force: those of the settings, and those of a source that may change while the hub
//! runs.
//!
//! Tokens are checked on worker threads, which must not wait: the keys are read without a lock, and
//! a token whose key is unknown only asks for them to be fetched again.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use tokio::sync::watch;

use super::AuthError;
use super::claims::invalid;
use super::keys::VerificationKey;

/// The keys in force.
pub(super) struct Keyring {
    /// Those of the settings, which have no names.
    fixed: Vec<VerificationKey>,
    /// Those of a source, where there is one.
    fetched: Option<Arc<FetchedKeys>>,
}

/// The keys of a source.
pub(super) struct FetchedKeys {
    /// None until they were read for the first time; from then on those of the last good reading.
    keys: ArcSwapOption<Vec<VerificationKey>>,
    /// How things stand between the source and tokens with unknown keys.
    state: watch::Sender<FetchState>,
    /// Who fetches; set when it starts.
    fetcher: OnceLock<Thread>,
}

/// What a token hears whose key is not among those of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchState {
    /// To wait: it has made the hub look again.
    Calm,
    /// To wait: the hub is looking.
    Asked,
    /// No: the hub has looked just now, and a stranger's tokens must not make it look all the time.
    Resting,
    /// To come back: the source does not answer, so nobody knows.
    Down,
}

// === impl Keyring ===

impl Keyring {
    pub(super) fn new(fixed: Vec<VerificationKey>, fetched: Option<Arc<FetchedKeys>>) -> Self {
        Self { fixed, fetched }
    }

    /// What changes while the hub runs.
    pub(super) fn fetched(&self) -> Option<&Arc<FetchedKeys>> {
        self.fetched.as_ref()
    }

    /// The algorithms of all keys.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let fetched = self.fetched.as_ref().and_then(|fetched| fetched.keys.load_full());
        let fetched = fetched.iter().flat_map(|keys| keys.iter());
        self.fixed.iter().chain(fetched).map(|key| key.algorithm).collect()
    }

    /// What the first key makes of a token that may be the token's: of its algorithm always, and
    /// of its name where both have one.
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

/// The key of a token in a set: by its name; where it has none, the only one of its algorithm.
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
    /// With the keys that are known already. Where there are none, the hub is looking.
    pub(super) fn new(keys: Option<Vec<VerificationKey>>) -> Self {
        let state = if keys.is_some() { FetchState::Calm } else { FetchState::Asked };
        Self {
            keys: ArcSwapOption::from_pointee(keys),
            state: watch::Sender::new(state),
            fetcher: OnceLock::new(),
        }
    }

    /// Tells who fetches: it is woken when a token asks for it.
    pub(super) fn set_fetcher(&self, thread: Thread) {
        // A second one would be woken by its own clock alone.
        self.fetcher.set(thread).ok();
    }

    /// These keys count from now on, and no others.
    pub(super) fn replace(&self, keys: Vec<VerificationKey>) {
        self.keys.store(Some(Arc::new(keys)));
    }

    pub(super) fn state(&self) -> FetchState {
        *self.state.borrow()
    }

    /// Sets the state by what it is, and says what it is then. Those who wait hear of it.
    pub(super) fn update_state(&self, next: impl FnOnce(FetchState) -> FetchState) -> FetchState {
        self.state.send_if_modified(|state| {
            let before = std::mem::replace(state, next(*state));
            *state != before
        });
        self.state()
    }

    /// Those who want to hear of the next change of state.
    pub(super) fn watch(&self) -> watch::Receiver<FetchState> {
        self.state.subscribe()
    }

    /// A token's key is not here: has the source looked at again, and says what the token hears.
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
