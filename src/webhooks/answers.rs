//! Answers that are kept for a while, and questions that many wait for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use protocol::ids::{OrderId, UserId};
use protocol::role::Role;

/// How long an answer is kept.
const MEMORY: Duration = Duration::from_secs(60);
/// The most answers and questions.
const MOST: usize = 10_000;

/// What is asked of an order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QuestionKey {
    /// The user.
    pub user: UserId,
    /// The role in the token.
    pub role: Role,
    /// A hash of its claims.
    pub claims: Vec<u8>,
}

/// What is known of a question: its answer, or what waits for it.
#[derive(Debug, Clone)]
pub enum Known<A, W> {
    /// The answer, and when it came.
    Answer(A, Instant),
    /// It is being asked; the number tells it from later questions.
    Asked(W, u64),
}

/// The answers, and the questions under way.
#[derive(Debug)]
pub struct Answers<A, W> {
    by_order: HashMap<OrderId, HashMap<QuestionKey, Known<A, W>>>,
    count: usize,
    newest: u64,
}

// === impl Known ===

impl<A, W> Known<A, W> {
    fn is_old(&self, now: Instant) -> bool {
        matches!(self, Self::Answer(_, at) if now >= *at + MEMORY)
    }
}

// === impl Answers ===

impl<A, W> Default for Answers<A, W> {
    fn default() -> Self {
        Self { by_order: HashMap::new(), count: 0, newest: 0 }
    }
}

impl<A: Clone, W: Clone> Answers<A, W> {
    /// What is known of a question.
    pub fn find(&self, order: &OrderId, key: &QuestionKey, now: Instant) -> Option<Known<A, W>> {
        let known = self.by_order.get(order)?.get(key)?;
        (!known.is_old(now)).then(|| known.clone())
    }

    /// The number of the next question.
    pub fn number(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Notes that a question is being asked.
    pub fn ask(&mut self, order: &OrderId, key: QuestionKey, asked: (W, u64), now: Instant) {
        if self.count >= MOST {
            self.retain(|_, known| !known.is_old(now));
        }
        if self.count >= MOST {
            // They are asked again.
            self.retain(|_, known| matches!(known, Known::Asked(..)));
        }
        let of_order = self.by_order.entry(order.clone()).or_default();
        let (wait, number) = asked;
        self.count += usize::from(of_order.insert(key, Known::Asked(wait, number)).is_none());
    }

    /// Notes the answer to a question. Where it was forgotten meanwhile, nothing is kept; and so if
    /// there is none.
    pub fn answer(
        &mut self,
        order: &OrderId,
        key: &QuestionKey,
        number: u64,
        answer: Option<A>,
        now: Instant,
    ) {
        let Some(of_order) = self.by_order.get_mut(order) else { return };
        if !matches!(of_order.get(key), Some(Known::Asked(_, asked)) if *asked == number) {
            return;
        }
        if let Some(answer) = answer {
            of_order.insert(key.clone(), Known::Answer(answer, now));
        } else {
            of_order.remove(key);
            self.count -= 1;
        }
    }

    /// Forgets all of a user.
    pub fn forget_user(&mut self, user: &UserId) {
        self.retain(|key, _| key.user != *user);
    }

    /// Forgets all of an order.
    pub fn forget_order(&mut self, order: &OrderId) {
        self.count -= self.by_order.remove(order).map_or(0, |of_order| of_order.len());
    }

    fn retain(&mut self, wanted: impl Fn(&QuestionKey, &Known<A, W>) -> bool) {
        for of_order in self.by_order.values_mut() {
            of_order.retain(|key, known| wanted(key, known));
        }
        self.by_order.retain(|_, of_order| !of_order.is_empty());
        self.count = self.by_order.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> OrderId {
        id.parse().expect("an id")
    }

    fn key(user: &str) -> QuestionKey {
        let user = user.parse().expect("an id");
        QuestionKey { user, role: Role::Customer, claims: Vec::new() }
    }

    fn answer(answers: &Answers<bool, u8>, of: &str, user: &str, now: Instant) -> Option<bool> {
        match answers.find(&order(of), &key(user), now)? {
            Known::Answer(answer, _) => Some(answer),
            Known::Asked(..) => None,
        }
    }

    #[test]
    fn an_answer_is_kept_for_a_minute_and_no_answer_is_not() {
        let (mut answers, now) = (Answers::<bool, u8>::default(), Instant::now());
        let (o, ann) = (order("o"), key("a"));
        answers.ask(&o, ann.clone(), (7, 1), now);
        assert!(matches!(answers.find(&o, &ann, now), Some(Known::Asked(7, 1))));
        answers.answer(&o, &ann, 1, Some(false), now);
        assert_eq!(answer(&answers, "o", "a", now + Duration::from_secs(59)), Some(false));
        assert!(answers.find(&o, &ann, now + MEMORY).is_none());
        answers.ask(&o, ann.clone(), (7, 2), now);
        answers.answer(&o, &ann, 2, None, now);
        assert!(answers.find(&o, &ann, now).is_none());
        assert_eq!(answers.count, 0);
    }

    #[test]
    fn what_is_forgotten_while_it_is_asked_is_not_kept() {
        type Forget = fn(&mut Answers<bool, u8>);
        let (mut answers, now) = (Answers::<bool, u8>::default(), Instant::now());
        let by_user: Forget = |answers| answers.forget_user(&key("a").user);
        let by_order: Forget = |answers| answers.forget_order(&order("o"));
        for forget in [by_user, by_order] {
            answers.ask(&order("o"), key("a"), (0, 1), now);
            answers.ask(&order("p"), key("b"), (0, 2), now);
            forget(&mut answers);
            answers.answer(&order("o"), &key("a"), 1, Some(true), now);
            answers.answer(&order("p"), &key("b"), 2, Some(true), now);
            let kept = (answer(&answers, "o", "a", now), answer(&answers, "p", "b", now));
            assert_eq!((kept, answers.count), ((None, Some(true)), 1));
        }
    }

    #[test]
    fn there_is_an_end_to_how_many_are_kept() {
        let (mut answers, now) = (Answers::<bool, u8>::default(), Instant::now());
        for number in 0..=MOST {
            let key = key(&format!("u{number}"));
            answers.ask(&order("o"), key.clone(), (0, 1), now);
            answers.answer(&order("o"), &key, 1, Some(true), now);
        }
        assert_eq!(answers.count, 1);
    }
}
