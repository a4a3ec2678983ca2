//! Asks the back end whether a user may join, and whether a message is stored.

mod chat;
mod join;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

pub use self::chat::{ChatHook, Decision};
pub use self::join::{JoinHook, JoinVerdict, OrderWriter};
use super::webhooks::client::WebhookClient;
use crate::config::{ConfigError, HookConfig};
use crate::metrics::{HookResult, Metrics};
use crate::webhooks::endpoints::Endpoint;

const JOIN_HOOK_URL: &str = "JOIN_HOOK_URL";
const CHAT_HOOK_URL: &str = "CHAT_HOOK_URL";
/// How long a back end may take for each question.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
const CHAT_TIMEOUT: Duration = Duration::from_secs(1);
/// The most questions of a kind at once.
const MOST_CALLS: usize = 64;
/// How much of an answer is read: the longest message, with every character escaped.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The back end's hooks, where there are any.
#[derive(Default)]
pub struct Hooks {
    /// Asked before a join.
    pub join: Option<Arc<JoinHook>>,
    /// Asked before a message is stored.
    pub chat: Option<Arc<ChatHook>>,
}

/// Puts questions to one address.
struct Asker {
    /// The setting that names it.
    variable: &'static str,
    /// What the metrics call it.
    hook: &'static str,
    client: WebhookClient,
    calls: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoAnswer {
    /// Too many questions are under way.
    Busy,
    /// The back end did not answer, or not as it should.
    Failed,
}

// === impl Hooks ===

impl Hooks {
    /// The hooks of these settings.
    ///
    /// # Errors
    /// The setting that is wrong. It repeats no secret.
    pub fn open(config: &HookConfig, metrics: &Arc<Metrics>) -> Result<Self, ConfigError> {
        let (join, chat) = endpoints(config)?;
        let asker = |hook, endpoint: Endpoint| {
            let variable = if hook == "join" { JOIN_HOOK_URL } else { CHAT_HOOK_URL };
            let client = WebhookClient::new(Arc::new(endpoint), MOST_CALLS)
                .map_err(|error| ConfigError::new(variable, error.to_string()))?;
            let client = client.reading(MAX_ANSWER_BYTES);
            metrics.hooks.show(hook);
            let (calls, metrics) = (Arc::new(Semaphore::new(MOST_CALLS)), Arc::clone(metrics));
            Ok::<_, ConfigError>(Asker { variable, hook, client, calls, metrics })
        };
        let (join, chat) = (
            join.map(|endpoint| asker("join", endpoint)).transpose()?,
            chat.map(|endpoint| asker("chat", endpoint)).transpose()?,
        );
        let keys = secrets(config).split(',').map(|secret| secret.trim().as_bytes().to_vec());
        let (keys, fails_open) = (keys.collect(), config.chat_fails_open);
        Ok(Self {
            join: join.map(|asker| Arc::new(JoinHook::new(asker))),
            chat: chat.map(|asker| Arc::new(ChatHook::new(asker, keys, fails_open))),
        })
    }

    /// Checks these settings.
    ///
    /// # Errors
    /// The setting that is wrong. It repeats no secret.
    pub fn check(config: &HookConfig) -> Result<(), ConfigError> {
        endpoints(config).map(drop)
    }
}

/// Where is asked about joins, and where about messages.
fn endpoints(config: &HookConfig) -> Result<(Option<Endpoint>, Option<Endpoint>), ConfigError> {
    let endpoint = |variable, url: &Option<String>, timeout| {
        let endpoint = |url: &String| Endpoint::of_hook(variable, url, secrets(config), timeout);
        url.as_ref().map(endpoint).transpose()
    };
    Ok((
        endpoint(JOIN_HOOK_URL, &config.join, JOIN_TIMEOUT)?,
        endpoint(CHAT_HOOK_URL, &config.chat, CHAT_TIMEOUT)?,
    ))
}

fn secrets(config: &HookConfig) -> &str {
    config.secret.as_ref().map_or("", |secret| secret.expose())
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (join, chat) = (self.join.is_some(), self.chat.is_some());
        f.debug_struct("Hooks").field("join", &join).field("chat", &chat).finish()
    }
}

// === impl Asker ===

impl Asker {
    /// Puts a question, and reads the answer.
    async fn ask<T>(
        &self,
        question: String,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, NoAnswer> {
        let Ok(_call) = self.calls.try_acquire() else {
            self.count(HookResult::Busy);
            return Err(NoAnswer::Busy);
        };
        let (id, began) = (uuid::Uuid::now_v7().to_string(), Instant::now());
        let answer = match self.client.post(&id, question).await {
            Ok(answer) => match answer.judge() {
                Ok(()) => read(&answer.body).map_err(|problem| format!("in its answer {problem}")),
                Err(failure) => Err(failure.reason),
            },
            Err(problem) => Err(problem),
        };
        self.metrics.hooks.took(self.hook, began.elapsed());
        answer.map_err(|problem| {
            log::warn!("{}: {problem}", self.variable);
            self.count(HookResult::Failed);
            NoAnswer::Failed
        })
    }

    fn count(&self, result: HookResult) {
        self.metrics.hooks.count(self.hook, result);
    }
}
