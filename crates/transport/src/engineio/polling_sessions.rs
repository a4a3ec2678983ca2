//! The sessions of a path that began with long-polling, by id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_http::RequestHead;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::query::Query;
use crate::Polling;
use protocol::ids::random;

/// Random bytes of an id: 144 bits, which cannot be guessed.
const ID_BYTES: usize = 18;

/// The sessions of a path that poll, or have moved from polling to a WebSocket. All workers share
/// them.
///
/// The handler's handshake check bounds their number. An entry is removed with its session.
#[derive(Debug)]
pub struct PollingSessions {
    /// The path, without a slash at its end.
    path: &'static str,
    by_id: Mutex<HashMap<Box<str>, Polling>>,
}

/// Keeps the id of a session registered; its drop removes the id.
pub(super) struct SessionIdGuard {
    sessions: Arc<PollingSessions>,
    sid: Box<str>,
}

// === impl PollingSessions ===

impl PollingSessions {
    /// An empty registry for a path like `/socket.io`.
    pub fn new(path: &'static str) -> Self {
        Self { path, by_id: Mutex::default() }
    }

    /// The number of sessions that poll or began with polling.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The session that a request names, with its id, if it is registered.
    pub fn of(&self, head: &RequestHead) -> Option<(Box<str>, Polling)> {
        let sid = Query::read(head.uri.query().unwrap_or_default()).sid?;
        let found = self.serves(head.uri.path()).then(|| self.find(sid)).flatten();
        found.map(|session| (sid.into(), session))
    }

    /// The path with and without a slash at its end.
    pub(super) fn paths(&self) -> [String; 2] {
        [self.path.to_owned(), format!("{}/", self.path)]
    }

    /// Whether a path is this registry's.
    pub fn serves(&self, path: &str) -> bool {
        path.strip_suffix('/').unwrap_or(path) == self.path
    }

    pub(super) fn find(&self, sid: &str) -> Option<Polling> {
        self.lock().get(sid).cloned()
    }

    pub(super) fn insert(&self, sid: &str, polling: Polling) {
        self.lock().insert(sid.into(), polling);
    }

    /// A guard that removes the id when the session has ended.
    pub(super) fn id_guard(self: &Arc<Self>, sid: &str) -> SessionIdGuard {
        SessionIdGuard { sessions: Arc::clone(self), sid: sid.into() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Polling>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new id; `None` where the system has no randomness.
pub(super) fn new_sid() -> Option<String> {
    let mut bytes = [0; ID_BYTES];
    random::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

impl Drop for SessionIdGuard {
    fn drop(&mut self) {
        // Removed under the lock and dropped after it: the entry's drop may take locks of its own.
        let _polling = self.sessions.lock().remove(&self.sid);
    }
}
