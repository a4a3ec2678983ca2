//! Asks the back end whether a user may join, and whether a message is stored.

mod chat;
mod join;
mod turns;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::chat::{ChatHook, Decision};
pub use self::join::{JoinHook, JoinVerdict, OrderWriter};
use self::turns::Turns;
use super::webhooks::client::WebhookClient;
use crate::config::{ConfigError, HookConfig};
use crate::metrics::{HookResult, Metrics};
use crate::webhooks::endpoints::Endpoint;
use protocol::ids::{OrderId, UserId};

const JOIN_HOOK_URL: &str = "JOIN_HOOK_URL";
const CHAT_HOOK_URL: &str = "CHAT_HOOK_URL";
/// How long a back end may take for each question.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
const CHAT_TIMEOUT: Duration = Duration::from_secs(1);
/// The most questions of a kind at once, and the most that wait for their turn.
const MOST_CALLS: usize = 64;
const MOST_WAITING: usize = 1024;
/// The most questions of one user at once.
const MOST_JOINS_OF_USER: usize = 4;
const MOST_CHAT_OF_USER: usize = 2;
/// From one warning to the next.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
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
    /// How long a question waits for its turn.
    wait: Duration,
    waiting: Semaphore,
    turns: Turns,
    calls: Semaphore,
    warned: Mutex<Warned>,
    metrics: Arc<Metrics>,
}

/// The last warning, and failures since.
#[derive(Default)]
struct Warned {
    at: Option<Instant>,
    failures: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoAnswer {
    /// Too many questions are under way.
    Busy,
    /// The back end did not answer: it is down, late, or says that it is overloaded.
    Failed,
    /// It answered, and not as it should.
    Wrong,
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
            let (variable, most_of_user) = if hook == "join" {
                (JOIN_HOOK_URL, MOST_JOINS_OF_USER)
            } else {
                (CHAT_HOOK_URL, MOST_CHAT_OF_USER)
            };
            let wait = endpoint.timeout;
            let client = WebhookClient::new(Arc::new(endpoint), MOST_CALLS)
                .map_err(|error| ConfigError::new(variable, error.to_string()))?;
            metrics.hooks.show(hook);
            Ok::<_, ConfigError>(Asker {
                variable,
                hook,
                client: client.reading(MAX_ANSWER_BYTES),
                wait,
                waiting: Semaphore::new(MOST_WAITING),
                turns: Turns::new(most_of_user),
                calls: Semaphore::new(MOST_CALLS),
                warned: Mutex::default(),
                metrics: Arc::clone(metrics),
            })
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

    /// Forgets what the back end said of a user, also what it is being asked: a ban or a revocation
    /// goes before.
    pub fn forget_user(&self, user: &UserId) {
        if let Some(join) = &self.join {
            join.forget_user(user);
        }
    }

    /// The same of an order, which has changed.
    pub fn forget_order(&self, order: &OrderId) {
        if let Some(join) = &self.join {
            join.forget_order(order);
        }
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
    /// Puts a question about a user when it is its turn, and reads the answer.
    async fn ask<T>(
        &self,
        user: &UserId,
        question: String,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, NoAnswer> {
        let Ok(_waiting) = self.waiting.try_acquire() else { return Err(self.busy()) };
        let turn = async { (self.turns.take(user).await, self.calls.acquire().await) };
        let Ok(_turn) = timeout(self.wait, turn).await else { return Err(self.busy()) };
        let (id, began) = (uuid::Uuid::now_v7().to_string(), Instant::now());
        let answer = match self.client.post(&id, question).await {
            Ok(answer) => match answer.judge() {
                Ok(()) => read(&answer.body)
                    .map_err(|problem| (NoAnswer::Wrong, format!("in its answer {problem}"))),
                Err(failure) => Err((no_answer(answer.status), failure.reason)),
            },
            Err(problem) => Err((NoAnswer::Failed, problem)),
        };
        self.metrics.hooks.took(self.hook, began.elapsed());
        answer.map_err(|(no_answer, problem)| {
            self.count(HookResult::Failed);
            self.warn(&problem);
            no_answer
        })
    }

    fn busy(&self) -> NoAnswer {
        self.count(HookResult::Busy);
        NoAnswer::Busy
    }

    fn count(&self, result: HookResult) {
        self.metrics.hooks.count(self.hook, result);
    }

    /// Warns now and then, with how many failures there were since.
    fn warn(&self, problem: &str) {
        let (now, mut warned) = (Instant::now(), self.warned.lock());
        warned.failures += 1;
        if warned.at.is_none_or(|at| now >= at + WARN_INTERVAL) {
            let failures = std::mem::take(&mut warned.failures);
            warned.at = Some(now);
            log::warn!("{}: {problem} ({failures} without a good answer)", self.variable);
        }
    }
}

/// What a status that is no success says.
fn no_answer(status: StatusCode) -> NoAnswer {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        NoAnswer::Failed
    } else {
        NoAnswer::Wrong
    }
}
