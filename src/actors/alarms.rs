//! One clock per thread, for the deadlines of all its connections.
//!
//! A timer in an actor's own context costs an allocation and is polled with every message of the
//! actor. For a connection that only forwards positions, that is a large part of the work. Here a
//! deadline is an entry in a sorted map, and costs nothing until it is due.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use actix::Message;
use tokio::time::{Sleep, sleep_until};

use super::reachable::Reachable;

/// How many alarms fire before other tasks of the thread may run.
const ALARMS_PER_POLL: usize = 256;

thread_local! {
    static CLOCK: RefCell<Clock> = const { RefCell::new(Clock::new()) };
}

/// A deadline is due.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AlarmFired;

/// A deadline, which is cancelled when this is dropped. It stays on the thread that set it.
#[derive(Debug)]
pub struct Alarm {
    key: AlarmKey,
}

/// The time, and a number that tells alarms of the same time apart.
type AlarmKey = (Instant, u64);

/// The deadlines of one thread.
struct Clock {
    alarms: BTreeMap<AlarmKey, Arc<dyn Reachable<AlarmFired>>>,
    /// The number of the next alarm.
    next: u64,
    /// Whether this thread's task runs. It ends with the thread's runtime.
    running: bool,
    /// Set while the task sleeps: until when (`None` without an alarm), and its waker.
    sleeper: Option<(Option<Instant>, Waker)>,
}

/// The task of one thread that fires its alarms.
struct Ticker(Pin<Box<Sleep>>);

// === impl Alarm ===

impl Alarm {
    /// Sends [`AlarmFired`] to `receiver` at `at`. Only for arbiter threads.
    pub fn set(at: Instant, receiver: Arc<dyn Reachable<AlarmFired>>) -> Self {
        let (key, spawn, sleeper) = CLOCK.with_borrow_mut(|clock| clock.set(at, receiver));
        // Outside the borrow: a runtime that is ending drops a new task at once.
        if spawn {
            actix_rt::spawn(Ticker(Box::pin(sleep_until(at.into()))));
        }
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        Self { key }
    }

    /// When it fires.
    pub fn at(&self) -> Instant {
        self.key.0
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // There is no clock only while a thread ends and its locals are gone.
        let _ = CLOCK.try_with(|clock| clock.borrow_mut().alarms.remove(&self.key));
    }
}

// === impl Clock ===

impl Clock {
    const fn new() -> Self {
        Self { alarms: BTreeMap::new(), next: 0, running: false, sleeper: None }
    }

    /// Adds an alarm. Returns its key, whether the task has to be spawned, and the waker to wake.
    fn set(
        &mut self,
        at: Instant,
        receiver: Arc<dyn Reachable<AlarmFired>>,
    ) -> (AlarmKey, bool, Option<Waker>) {
        let key = (at, self.next);
        self.next += 1;
        self.alarms.insert(key, receiver);
        let spawn = !std::mem::replace(&mut self.running, true);
        let sooner =
            |(until, _): &mut (Option<Instant>, Waker)| until.is_none_or(|until| at < until);
        let sleeper = self.sleeper.take_if(sooner).map(|(_, waker)| waker);
        (key, spawn, sleeper)
    }

    /// Takes out the alarms that are due at `now`, at most [`ALARMS_PER_POLL`].
    fn due(&mut self, now: Instant) -> Vec<Arc<dyn Reachable<AlarmFired>>> {
        let mut due = Vec::new();
        while due.len() < ALARMS_PER_POLL
            && let Some(first) = self.alarms.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }
}

// === impl Ticker ===

impl Future for Ticker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let (due, next) = CLOCK.with_borrow_mut(|clock| {
                let due = clock.due(now);
                let next = clock.alarms.first_key_value().map(|((at, _), _)| *at);
                clock.sleeper = due.is_empty().then(|| (next, cx.waker().clone()));
                (due, next)
            });
            if !due.is_empty() {
                for receiver in due {
                    receiver.tell(AlarmFired);
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(next) = next else { return Poll::Pending };
            self.0.as_mut().reset(next.into());
            ready!(self.0.as_mut().poll(cx));
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // The runtime ends; another may begin on this thread (tests do that).
        let clock = CLOCK.try_with(|clock| clock.replace(Clock::new()));
        drop(clock);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::{Actor, Context as ActorContext, Handler};
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    /// Logs its name when its alarm fires.
    struct Sleeper(UnboundedSender<&'static str>, &'static str);

    impl Actor for Sleeper {
        type Context = ActorContext<Self>;
    }

    impl Handler<AlarmFired> for Sleeper {
        type Result = ();

        fn handle(&mut self, AlarmFired: AlarmFired, _: &mut Self::Context) {
            self.0.send(self.1).expect("the test listens");
        }
    }

    const MS: Duration = Duration::from_millis(1);

    fn alarm(log: &UnboundedSender<&'static str>, name: &'static str, after: Duration) -> Alarm {
        Alarm::set(Instant::now() + after, Arc::new(Sleeper(log.clone(), name).start()))
    }

    async fn next(told: &mut UnboundedReceiver<&'static str>) -> &'static str {
        let told = tokio::time::timeout(MS * 10_000, told.recv()).await;
        told.expect("in time").expect("the log is open")
    }

    #[actix::test]
    async fn alarms_go_off_in_order_and_a_dropped_one_does_not() {
        let (log, mut told) = unbounded_channel();
        let last = alarm(&log, "last", MS * 60);
        let dropped = alarm(&log, "dropped", MS * 20);
        let first = alarm(&log, "first", MS * 10);
        assert!(first.at() < last.at());
        drop(dropped);
        assert_eq!(next(&mut told).await, "first");
        assert_eq!(next(&mut told).await, "last");
        let again = alarm(&log, "again", MS);
        assert_eq!(next(&mut told).await, "again", "also after a rest");
        assert!(Instant::now() >= again.at());
    }

    #[actix::test]
    async fn alarms_beyond_the_limit_of_one_poll_all_fire() {
        let (log, mut told) = unbounded_channel();
        let alarms: Vec<_> =
            (0..=ALARMS_PER_POLL * 2).map(|_| alarm(&log, "one of many", MS)).collect();
        for _ in &alarms {
            assert_eq!(next(&mut told).await, "one of many");
        }
    }
}
