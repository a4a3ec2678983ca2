//! The question whether a user may join an order.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Asker, JOIN_TIMEOUT};
use crate::auth::Identity;
use crate::metrics::HookResult;
use crate::webhooks::answers::{Answers, Known, QuestionKey};
use crate::webhooks::questions::{JoinAnswer, JoinQuestion};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;

/// The most questions of one user at once; others wait.
const MOST_OF_USER: usize = 4;

/// Whether a user may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinVerdict {
    /// Yes, in this role.
    Yes(Role),
    /// No.
    No,
    /// The back end does not say.
    Unavailable,
}

/// Puts an order that an answer brings, unless the hub knows it as new or newer. False if it cannot
/// be put.
pub type OrderWriter =
    Box<dyn Fn(OrderId, Box<RawValue>) -> BoxFuture<'static, bool> + Send + Sync>;

type Waiting = Shared<BoxFuture<'static, JoinVerdict>>;

/// Asks the back end who may join.
pub struct JoinHook {
    asker: Asker,
    answers: Mutex<Answers<JoinVerdict, Waiting>>,
    /// What users with questions under way may ask at once.
    users: Mutex<HashMap<UserId, Arc<Semaphore>>>,
    orders: OnceLock<OrderWriter>,
}

// === impl JoinHook ===

impl JoinHook {
    pub(super) fn new(asker: Asker) -> Self {
        Self { asker, answers: Mutex::default(), users: Mutex::default(), orders: OnceLock::new() }
    }

    /// Sets what puts the orders that answers bring.
    pub fn put_orders_with(&self, writer: OrderWriter) {
        // A second one would be the same.
        self.orders.set(writer).ok();
    }

    /// Asks whether a user may join. All who ask the same wait for one question; its answer is kept
    /// for a minute.
    pub fn ask(
        self: &Arc<Self>,
        identity: &Identity,
        order: &OrderId,
    ) -> BoxFuture<'static, JoinVerdict> {
        let Some(claims) = identity.claims.clone() else {
            // Tokens have claims, and API keys join nothing.
            return std::future::ready(JoinVerdict::No).boxed();
        };
        let key = QuestionKey {
            user: identity.user.clone(),
            role: identity.role,
            claims: digest(&SHA256, claims.as_bytes()).as_ref().to_vec(),
        };
        let mut answers = self.answers.lock();
        match answers.find(order, &key, Instant::now()) {
            Some(Known::Answer(verdict, _)) => std::future::ready(verdict).boxed(),
            Some(Known::Asked(waiting, _)) => waiting.boxed(),
            None => {
                let (hook, number) = (Arc::clone(self), answers.number());
                let asked = (order.clone(), key.clone());
                // A task of its own: those who asked may go, and others wait for it.
                let task = tokio::spawn(async move {
                    let (order, key) = asked;
                    let verdict = hook.put_in_turn(&order, &key, &claims).await;
                    hook.keep(&order, &key, number, verdict);
                    verdict
                });
                let waiting = task.map(|verdict| verdict.unwrap_or(JoinVerdict::Unavailable));
                let waiting = waiting.boxed().shared();
                answers.ask(order, key, (waiting.clone(), number), Instant::now());
                waiting.boxed()
            }
        }
    }

    fn keep(&self, order: &OrderId, key: &QuestionKey, number: u64, verdict: JoinVerdict) {
        let kept = Some(verdict).filter(|verdict| *verdict != JoinVerdict::Unavailable);
        self.answers.lock().answer(order, key, number, kept, Instant::now());
    }

    /// Puts a question when it is its turn among those of its user.
    async fn put_in_turn(&self, order: &OrderId, key: &QuestionKey, claims: &str) -> JoinVerdict {
        let of_user = {
            let mut users = self.users.lock();
            let of_user = users.entry(key.user.clone());
            Arc::clone(of_user.or_insert_with(|| Arc::new(Semaphore::new(MOST_OF_USER))))
        };
        // It is never closed.
        let verdict = if let Ok(_turn) = timeout(JOIN_TIMEOUT, of_user.acquire()).await {
            self.put(order, key, claims).await
        } else {
            self.asker.count(HookResult::Busy);
            JoinVerdict::Unavailable
        };
        drop(of_user);
        let mut users = self.users.lock();
        if users.get(&key.user).is_some_and(|of_user| Arc::strong_count(of_user) == 1) {
            users.remove(&key.user);
        }
        verdict
    }

    async fn put(&self, order: &OrderId, key: &QuestionKey, claims: &str) -> JoinVerdict {
        // It was read from the token as JSON.
        let Ok(claims) = serde_json::from_str(claims) else { return JoinVerdict::No };
        let QuestionKey { user, role, .. } = key;
        let question = JoinQuestion { order_id: order, user_id: user, role: *role, claims };
        match self.asker.ask(question.body(), JoinQuestion::answer).await {
            Ok(JoinAnswer::Yes { role: granted, order: put }) => {
                if let (Some(put), Some(writer)) = (put, self.orders.get())
                    && !writer(order.clone(), put).await
                {
                    self.asker.count(HookResult::Failed);
                    return JoinVerdict::Unavailable;
                }
                self.asker.count(HookResult::Yes);
                JoinVerdict::Yes(granted.unwrap_or(*role))
            }
            Ok(JoinAnswer::No) => {
                self.asker.count(HookResult::No);
                JoinVerdict::No
            }
            Err(_) => JoinVerdict::Unavailable,
        }
    }

    /// Forgets the answers about a user, also those under way: a ban or a revocation goes before.
    pub fn forget_user(&self, user: &UserId) {
        self.answers.lock().forget_user(user);
    }

    /// Forgets the answers about an order, also those under way: it has changed.
    pub fn forget_order(&self, order: &OrderId) {
        self.answers.lock().forget_order(order);
    }
}
