//! An app as it should be written: it comes back with what it has, sends again what was not
//! acknowledged, and takes the hub at its word.

mod reading;
mod talk;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use protocol::time::Timestamp;
use serde_json::{Value, json};

use talk::{Ask, Talk};

use super::guests::{Bar, GuestAccess};
use super::line::{HubEvent, Line, RecoveryState, Refused};
use super::world::{Gauge, Rng, World, now_millis, now_secs, number, token};

/// How long an answer may take on a connection that stands, with every fault there is.
const ANSWER: Duration = Duration::from_secs(20);
/// How many messages are under way at once, and how many wait at most.
const WINDOW: usize = 3;
const WAITING: usize = 10;

/// Who uses an app.
pub struct Person {
    pub user: String,
    pub role: &'static str,
    pub orders: Vec<String>,
    /// Of a guest: whether it may read just now.
    pub standing: Option<Arc<GuestAccess>>,
}

/// An app.
pub struct App {
    world: Arc<World>,
    person: Person,
    rng: Rng,
    gauge: Arc<Gauge>,
    /// Or else the plain framing.
    socketio: bool,
    memory: RecoveryState,
    /// Orders that it is in.
    joined: HashSet<String>,
    /// Messages that are not acknowledged, oldest first.
    unacked: VecDeque<Outgoing>,
    said: usize,
    /// A message that was acknowledged, to send once more.
    last_acked: Option<(String, String)>,
    /// By order, the newest that it has heard: the time of a position, the number of a status.
    newest_fix: HashMap<String, String>,
    newest_status: HashMap<String, usize>,
}

struct Outgoing {
    order: String,
    content: String,
    under_way: bool,
    not_before: Instant,
}

impl App {
    pub fn new(world: &Arc<World>, person: Person, number: u64) -> Self {
        Self {
            rng: Rng::new(world.seed, number + 100),
            gauge: world.gauge(&person.user),
            socketio: number.is_multiple_of(2),
            memory: RecoveryState::default(),
            world: Arc::clone(world),
            person,
            joined: HashSet::new(),
            unacked: VecDeque::new(),
            said: 0,
            last_acked: None,
            newest_fix: HashMap::new(),
            newest_status: HashMap::new(),
        }
    }

    /// Lives until the run is over.
    pub async fn run(mut self) {
        while !self.world.is_over() {
            let bar = self.bar();
            let issued = self.person.standing.as_ref().map_or_else(now_secs, |it| it.token_from());
            let token = token(&self.person.user, self.person.role, &self.rights(), issued);
            let hub = *self.world.hub.borrow();
            let memory = self.socketio.then_some(&mut self.memory);
            match Line::open(hub, &token, memory).await {
                Ok(line) => {
                    if bar.is_some_and(|bar| bar.keeps_out()) && bar == self.bar() {
                        self.broken("was let in while barred");
                    }
                    self.session(line).await;
                }
                Err(Refused::Denied(why)) => {
                    if bar.is_none_or(|bar| bar.is_free()) && bar == self.bar() {
                        self.broken(&format!("was not let in: {why}"));
                    }
                }
                Err(Refused::NotNow) => {}
            }
            self.gauge.live.store(false, SeqCst);
            let pause = self.rng.millis(20, 400);
            tokio::time::sleep(pause).await;
        }
    }

    /// The orders that its token names: a guest has its rights from the back end.
    fn rights(&self) -> Vec<String> {
        if self.person.standing.is_some() { Vec::new() } else { self.person.orders.clone() }
    }

    fn bar(&self) -> Option<Bar> {
        self.person.standing.as_ref().map(|standing| standing.bar())
    }

    fn broken(&self, what: &str) {
        let framing = if self.socketio { "Socket.IO" } else { "plain" };
        self.world.broken(&format!("{} ({framing}): {what}", self.person.user));
    }

    /// One connection, until it ends.
    async fn session(&mut self, line: Line) {
        if !line.recovered {
            self.joined.clear();
        } else if self.rng.once_in(2) {
            // Many apps join whenever they connect.
            let order = self.rng.pick(&self.person.orders).clone();
            self.joined.remove(&order);
        }
        for outgoing in &mut self.unacked {
            outgoing.under_way = false;
        }
        let mut talk = Talk::new(line);
        let mut cuts = self.world.cuts.subscribe();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut memory = std::mem::take(&mut self.memory);
        loop {
            let goes_on = tokio::select! {
                heard = talk.line.next(&mut memory) => match heard {
                    Some(HubEvent::Event(name, data)) => self.hear(&name, data, &mut talk),
                    Some(HubEvent::Ack(id, data)) => self.answered(id, data, &mut talk).await,
                    Some(HubEvent::Other) => true,
                    None => false,
                },
                _ = ticks.tick() => self.tick(&mut talk).await,
                _ = cuts.changed() => false,
            };
            if !goes_on {
                break;
            }
        }
        self.memory = memory;
    }

    /// Does what is due.
    async fn tick(&mut self, talk: &mut Talk) -> bool {
        if let Some(late) = talk.asked.values().find(|asked| asked.at.elapsed() > ANSWER) {
            let what = late.what.name();
            self.broken(&format!("heard no answer to {what} for {ANSWER:?}"));
            return false;
        }
        self.join(talk).await;
        if self.world.talks() {
            self.act(talk).await;
        }
        let mut under_way = self.unacked.iter().filter(|outgoing| outgoing.under_way).count();
        let bar = self.bar();
        for outgoing in &mut self.unacked {
            let due =
                outgoing.not_before <= Instant::now() && self.joined.contains(&outgoing.order);
            if under_way < WINDOW && !outgoing.under_way && due {
                outgoing.under_way = true;
                under_way += 1;
                let (order, content) = (&outgoing.order, &outgoing.content);
                let said = json!({ "orderId": order, "content": content, "clientMsgId": content });
                talk.ask("chat:message", &said, Ask::Say(content.clone()), bar).await;
            }
        }
        let live = self.person.orders.iter().all(|order| self.joined.contains(order));
        self.gauge.unacked.store(self.unacked.len(), SeqCst);
        self.gauge.live.store(live, SeqCst);
        !self.world.is_over()
    }

    /// Joins where it is not, with what it has.
    async fn join(&mut self, talk: &mut Talk) {
        if talk.join_after > Instant::now() {
            return;
        }
        for order in &self.person.orders {
            if self.joined.contains(order) || talk.waits_for(order) {
                continue;
            }
            let status = self.world.orders[order].status_acked.load(SeqCst);
            let data = json!({ "orderId": order, "sinceSeq": self.has(order), "limit": 200 });
            let what = Ask::Join { order: order.clone(), status };
            talk.ask("order:join", &data, what, self.bar()).await;
        }
    }

    /// Something that its user does, by chance.
    async fn act(&mut self, talk: &mut Talk) {
        let order = self.rng.pick(&self.person.orders).clone();
        if self.unacked.len() < WAITING && self.rng.once_in(20) {
            self.said += 1;
            let content = format!("{}-{}", self.person.user, self.said);
            self.say(order.clone(), content);
        } else if let Some((order, content)) = self.last_acked.take_if(|_| self.rng.once_in(50)) {
            self.say(order, content);
        }
        if self.person.role == "driver" && self.rng.once_in(4) {
            let taken = talk.taken.is_some_and(|taken| taken.elapsed() < Duration::from_secs(3));
            // Far older than the newest that the hub has taken: it must drop this one.
            let old = taken && self.rng.once_in(20);
            let recorded = Timestamp::from_millis(now_millis() - if old { 20_000 } else { 0 });
            let fix = json!({ "orderId": order, "lat": 45.0, "lng": 13.0, "recordedAt": recorded });
            talk.ask("driver:location", &fix, Ask::Locate { old }, None).await;
        } else if self.joined.contains(&order) && self.rng.once_in(20) {
            let mark = json!({ "orderId": order, "seq": self.has(&order) });
            talk.ask("chat:read", &mark, Ask::Mark, None).await;
        }
    }

    fn say(&mut self, order: String, content: String) {
        let not_before = Instant::now();
        self.unacked.push_back(Outgoing { order, content, under_way: false, not_before });
    }

    /// How many messages of an order it has seen, from the first without a gap.
    fn has(&self, order: &str) -> usize {
        let views = self.world.views.lock().expect("no panic");
        views.get(&(self.person.user.clone(), order.to_owned())).map_or(0, Vec::len)
    }

    fn hear(&mut self, name: &str, data: Value, talk: &mut Talk) -> bool {
        let order = data["orderId"].as_str().unwrap_or_default().to_owned();
        let happened = data["createdAt"].as_str().or(data["timestamp"].as_str());
        if let (Some(happened), Some(bar)) = (happened, self.bar())
            && bar.since().is_some_and(|since| happened > since.text().as_str())
        {
            self.broken(&format!("barred since {bar:?}, reads {data}"));
        }
        match name {
            "chat:message" => self.show(&order, &data, true, talk),
            "order:joined" => self.snapshot(&order, &data, 0),
            "order:left" => {
                self.joined.remove(&order);
                talk.join_after = Instant::now() + Duration::from_millis(300);
                if self.bar().is_none() {
                    self.broken(&format!("was put out of a room: {data}"));
                }
            }
            "location:updated" => self.fix(order, &data),
            "order:status" => self.status(&order, &data["status"], 0),
            "chat:read" => {
                let user = data["userId"].as_str().unwrap_or_default().to_owned();
                let seq = number(&data["seq"]);
                let before = talk.marks.insert((order, user), seq);
                if before.is_some_and(|before| before > seq) {
                    self.broken(&format!("a read mark went back from {before:?}: {data}"));
                }
            }
            "session:end" => {
                let expected = matches!(data["code"].as_u64(), Some(1012 | 1013));
                if !expected && self.bar().is_none() {
                    self.broken(&format!("was closed: {data}"));
                }
            }
            "exception" => self.broken(&format!("an exception nothing asked for: {data}")),
            _ => {}
        }
        true
    }

    async fn answered(&mut self, id: u64, data: Value, talk: &mut Talk) -> bool {
        let Some(asked) = talk.asked.remove(&id) else {
            self.broken(&format!("a second answer to {id}: {data}"));
            return true;
        };
        let good = data["ok"] == true;
        let barred = asked.bar.filter(|bar| bar.since().is_some() && Some(*bar) == self.bar());
        if let Some(bar) = barred.filter(|_| good && asked.what.needs_rights()) {
            self.broken(&format!("barred as {bar:?}, is answered {data}"));
        }
        let code = data["error"]["code"].as_str().unwrap_or_default();
        if !good && !matches!(code, "unavailable" | "rate_limited") {
            if self.bar().is_none() || code != "forbidden" {
                self.broken(&format!("{} is refused: {data}", asked.what.name()));
            }
            // A refusal is remembered for the connection, so a guest takes another one.
            return false;
        }
        let wait = data["error"]["retryAfterMs"].as_u64().unwrap_or(0).min(1000);
        let again = Instant::now() + Duration::from_millis(wait);
        match asked.what {
            Ask::Join { order, status } if good => {
                self.snapshot(&order, &data, status);
                if !self.joined.contains(&order) {
                    self.page(order, talk).await;
                }
            }
            Ask::Page(order) if good => {
                for message in data["messages"].as_array().into_iter().flatten() {
                    self.show(&order, message, false, talk);
                }
                if data["hasMore"] == true {
                    self.page(order, talk).await;
                } else {
                    self.catch_up(&order, talk);
                }
            }
            Ask::Join { .. } | Ask::Page(_) => talk.join_after = again,
            Ask::Say(content) => self.said(&content, good.then_some(&data), again),
            Ask::Locate { old } if good => {
                if old && data["accepted"] != 0 {
                    self.broken(&format!("a position of 20 s ago was taken: {data}"));
                }
                let refused = data["rejected"][0]["code"].as_str().unwrap_or("unavailable");
                if refused != "unavailable" {
                    self.broken(&format!("a position was rejected: {data}"));
                }
                talk.taken = (data["accepted"] == 1).then(Instant::now).or(talk.taken);
            }
            Ask::Locate { .. } | Ask::Mark => {}
        }
        true
    }

    /// A message was acknowledged, or has to be sent again.
    fn said(&mut self, content: &str, ack: Option<&Value>, again: Instant) {
        let Some(at) = self.unacked.iter().position(|outgoing| outgoing.content == content) else {
            return;
        };
        let Some(ack) = ack else {
            (self.unacked[at].under_way, self.unacked[at].not_before) = (false, again);
            return;
        };
        let Outgoing { order, content, .. } = self.unacked.remove(at).expect("it is there");
        let id = ack["id"].as_str().expect("an id");
        self.world.acknowledged(&order, &content, id, number(&ack["seq"]));
        self.last_acked = Some((order, content));
    }

    async fn page(&mut self, order: String, talk: &mut Talk) {
        let data = json!({ "orderId": order, "afterSeq": self.has(&order), "limit": 200 });
        talk.ask("chat:history", &data, Ask::Page(order), self.bar()).await;
    }
}
