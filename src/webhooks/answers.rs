//! Answers that are kept for a while, and questions that many wait for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use protocol::ids::{OrderId, UserId};
use protocol::role::Role;

/// How long an answer is kept.
const MEMORY: Duration = Duration::from_secs(60);
/// After that a question is asked again, whatever became of it.
const MAX_WAIT: Duration = Duration::from_secs(15);
/// The most answers and questions, of all and of one user. Beyond, the oldest goes.
const MOST: usize = 10_000;
const MOST_OF_USER: usize = 64;

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

/// What is known of a question.
#[derive(Debug, Clone)]
pub enum Known<A, W> {
    /// The answer.
    Answer(A),
    /// It is being asked: what waits for the answer.
    Asked(W),
}

#[derive(Debug)]
struct Entry<A, W> {
    known: Known<A, W>,
    /// When it was asked, or answered.
    at: Instant,
    /// Tells it from later questions, and says which is older.
    number: u64,
}

/// The answers, and the questions under way.
#[derive(Debug)]
pub struct Answers<A, W> {
    by_order: HashMap<OrderId, HashMap<QuestionKey, Entry<A, W>>>,
    by_age: BTreeMap<u64, (OrderId, QuestionKey)>,
    by_user: BTreeSet<(UserId, u64)>,
    newest: u64,
}

// === impl Answers ===

impl<A, W> Default for Answers<A, W> {
    fn default() -> Self {
        Self {
            by_order: HashMap::new(),
            by_age: BTreeMap::new(),
            by_user: BTreeSet::new(),
            newest: 0,
        }
    }
}

impl<A: Clone, W: Clone> Answers<A, W> {
    /// What is known of a question.
    pub fn find(&self, order: &OrderId, key: &QuestionKey, now: Instant) -> Option<Known<A, W>> {
        let entry = self.by_order.get(order)?.get(key)?;
        let until = match entry.known {
            Known::Answer(_) => entry.at + MEMORY,
            Known::Asked(_) => entry.at + MAX_WAIT,
        };
        (now < until).then(|| entry.known.clone())
    }

    /// The number of the next question.
    pub fn number(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Notes that a question is being asked.
    pub fn ask(&mut self, order: &OrderId, key: QuestionKey, wait: W, number: u64, now: Instant) {
        self.remove(order, &key);
        let user = key.user.clone();
        let of_user = (user.clone(), 0)..=(user.clone(), u64::MAX);
        if self.by_user.range(of_user.clone()).count() >= MOST_OF_USER
            && let Some((_, oldest)) = self.by_user.range(of_user).next().cloned()
        {
            self.forget(oldest);
        }
        if self.by_age.len() >= MOST
            && let Some((oldest, _)) = self.by_age.first_key_value()
        {
            self.forget(*oldest);
        }
        self.by_age.insert(number, (order.clone(), key.clone()));
        self.by_user.insert((user, number));
        let entry = Entry { known: Known::Asked(wait), at: now, number };
        self.by_order.entry(order.clone()).or_default().insert(key, entry);
    }

    /// Notes the answer to a question, or that there is none. False where it was forgotten meanwhile:
    /// then nothing is kept.
    pub fn answer(
        &mut self,
        order: &OrderId,
        key: &QuestionKey,
        number: u64,
        answer: Option<A>,
        now: Instant,
    ) -> bool {
        let of_order = self.by_order.get_mut(order);
        let entry = of_order.and_then(|of_order| of_order.get_mut(key));
        let Some(entry) = entry.filter(|entry| entry.number == number) else { return false };
        if let Some(answer) = answer {
            (entry.known, entry.at) = (Known::Answer(answer), now);
        } else {
            self.forget(number);
        }
        true
    }

    /// Forgets all of a user.
    pub fn forget_user(&mut self, user: &UserId) {
        let of_user = (user.clone(), 0)..=(user.clone(), u64::MAX);
        let numbers: Vec<u64> = self.by_user.range(of_user).map(|(_, number)| *number).collect();
        for number in numbers {
            self.forget(number);
        }
    }

    /// Forgets all of an order.
    pub fn forget_order(&mut self, order: &OrderId) {
        for (key, entry) in self.by_order.remove(order).into_iter().flatten() {
            self.by_age.remove(&entry.number);
            self.by_user.remove(&(key.user, entry.number));
        }
    }

    fn forget(&mut self, number: u64) {
        if let Some((order, key)) = self.by_age.get(&number).cloned() {
            self.remove(&order, &key);
        }
    }

    fn remove(&mut self, order: &OrderId, key: &QuestionKey) {
        let Some(of_order) = self.by_order.get_mut(order) else { return };
        let Some(entry) = of_order.remove(key) else { return };
        if of_order.is_empty() {
            self.by_order.remove(order);
        }
        self.by_age.remove(&entry.number);
        self.by_user.remove(&(key.user.clone(), entry.number));
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

    /// The answers, and what is asked and answered in one word.
    struct Scene(Answers<bool, u8>, Instant);

    impl Scene {
        fn new() -> Self {
            Self(Answers::default(), Instant::now())
        }

        fn ask(&mut self, of: &str, user: &str) -> u64 {
            let number = self.0.number();
            self.0.ask(&order(of), key(user), 7, number, self.1);
            number
        }

        fn answer(&mut self, of: &str, user: &str, number: u64, answer: Option<bool>) -> bool {
            self.0.answer(&order(of), &key(user), number, answer, self.1)
        }

        #[expect(clippy::option_option, reason = "nothing known, asked, or answered")]
        fn known(&self, of: &str, user: &str, secs: u64) -> Option<Option<bool>> {
            let known = self.0.find(&order(of), &key(user), self.1 + Duration::from_secs(secs));
            known.map(|known| match known {
                Known::Answer(answer) => Some(answer),
                Known::Asked(_) => None,
            })
        }
    }

    #[test]
    fn an_answer_is_kept_for_a_minute_and_no_answer_is_not() {
        let mut scene = Scene::new();
        let number = scene.ask("o", "ann");
        assert_eq!((scene.known("o", "ann", 14), scene.known("o", "ann", 15)), (Some(None), None));
        assert!(scene.answer("o", "ann", number, Some(false)));
        assert_eq!(scene.known("o", "ann", 59), Some(Some(false)));
        assert_eq!(scene.known("o", "ann", 60), None);
        let number = scene.ask("o", "ann");
        assert!(scene.answer("o", "ann", number, None));
        assert_eq!((scene.known("o", "ann", 0), scene.0.by_age.len()), (None, 0));
    }

    #[test]
    fn an_answer_forgotten_while_it_is_asked_is_not_kept() {
        type Forget = fn(&mut Answers<bool, u8>);
        let by_user: Forget = |answers| answers.forget_user(&key("ann").user);
        let by_order: Forget = |answers| answers.forget_order(&order("o"));
        for forget in [by_user, by_order] {
            let mut scene = Scene::new();
            let (ann, bob) = (scene.ask("o", "ann"), scene.ask("p", "bob"));
            forget(&mut scene.0);
            assert!(!scene.answer("o", "ann", ann, Some(true)));
            assert!(scene.answer("p", "bob", bob, Some(true)));
            assert_eq!(scene.known("o", "ann", 0), None);
            assert_eq!(scene.known("p", "bob", 0), Some(Some(true)));
            assert_eq!((scene.0.by_age.len(), scene.0.by_user.len()), (1, 1));
        }
    }

    #[test]
    fn a_user_who_asks_much_loses_only_answers_of_their_own() {
        let mut scene = Scene::new();
        let number = scene.ask("o", "ann");
        scene.answer("o", "ann", number, Some(true));
        for many in 0..=MOST_OF_USER {
            scene.ask(&format!("o{many}"), "eve");
        }
        assert_eq!((scene.known("o0", "eve", 0), scene.known("o1", "eve", 0)), (None, Some(None)));
        assert_eq!(scene.known("o", "ann", 0), Some(Some(true)));
    }

    #[test]
    fn the_oldest_answer_goes_beyond_the_bound() {
        let mut scene = Scene::new();
        for number in 0..=MOST {
            scene.ask("o", &format!("u{number}"));
        }
        assert_eq!((scene.known("o", "u0", 0), scene.known("o", "u1", 0)), (None, Some(None)));
        assert_eq!(scene.0.by_age.len(), MOST);
    }
}
