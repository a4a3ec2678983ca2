//! The question whether a user may join an order.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::Asker;
use crate::auth::Identity;
use crate::metrics::HookResult;
use crate::webhooks::answers::{Answers, Known, QuestionKey};
use crate::webhooks::questions::{JoinAnswer, JoinQuestion};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;

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
    orders: OnceLock<OrderWriter>,
}

/// A question that is being asked.
struct Asked {
    order: OrderId,
    key: QuestionKey,
    claims: Arc<str>,
    number: u64,
    /// What others wait on.
    waiting: oneshot::Receiver<WeakShared<BoxFuture<'static, JoinVerdict>>>,
}

// === impl JoinHook ===

impl JoinHook {
    pub(super) fn new(asker: Asker) -> Self {
        Self { asker, answers: Mutex::default(), orders: OnceLock::new() }
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
            Some(Known::Answer(verdict)) => std::future::ready(verdict).boxed(),
            Some(Known::Asked(waiting)) => waiting.boxed(),
            None => {
                let (hook, number, (give, own)) =
                    (Arc::clone(self), answers.number(), oneshot::channel());
                let order_id = order.clone();
                let asked =
                    Asked { order: order_id, key: key.clone(), claims, number, waiting: own };
                // A task of its own: those who asked may go, and others wait for it.
                let task = tokio::spawn(async move { hook.decide(asked).await });
                let waiting = task.map(|verdict| verdict.unwrap_or(JoinVerdict::Unavailable));
                let waiting = waiting.boxed().shared();
                // A task that has panicked takes it no more.
                waiting.downgrade().map(|own| give.send(own).ok());
                answers.ask(order, key, waiting.clone(), number, Instant::now());
                waiting.boxed()
            }
        }
    }

    /// Puts a question; once more if what it was about has changed meanwhile.
    async fn decide(&self, asked: Asked) -> JoinVerdict {
        let Asked { order, key, claims, number, waiting } = asked;
        let verdict = self.put(&order, &key, &claims).await;
        if self.keep(&order, &key, number, verdict) || !matches!(verdict, JoinVerdict::Yes(_)) {
            return verdict;
        }
        let Some(waiting) = waiting.await.ok().and_then(|waiting| waiting.upgrade()) else {
            return JoinVerdict::Unavailable;
        };
        let number = {
            let mut answers = self.answers.lock();
            let number = answers.number();
            answers.ask(&order, key.clone(), waiting, number, Instant::now());
            number
        };
        let verdict = self.put(&order, &key, &claims).await;
        if self.keep(&order, &key, number, verdict) { verdict } else { JoinVerdict::Unavailable }
    }

    /// Keeps an answer. False if it was forgotten while it was asked for.
    fn keep(&self, order: &OrderId, key: &QuestionKey, number: u64, verdict: JoinVerdict) -> bool {
        let kept = Some(verdict).filter(|verdict| *verdict != JoinVerdict::Unavailable);
        self.answers.lock().answer(order, key, number, kept, Instant::now())
    }

    async fn put(&self, order: &OrderId, key: &QuestionKey, claims: &str) -> JoinVerdict {
        // It was read from the token as JSON.
        let Ok(claims) = serde_json::from_str(claims) else { return JoinVerdict::No };
        let QuestionKey { user, role, .. } = key;
        let question = JoinQuestion { order_id: order, user_id: user, role: *role, claims };
        match self.asker.ask(user, question.body(), JoinQuestion::answer).await {
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
