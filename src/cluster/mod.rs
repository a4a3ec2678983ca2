//! This hub as a node of its cluster: it says that it is there, carries out what the others decide,
//! and answers what they ask. A hub alone has none of this.
//!
//! | file | does |
//! |---|---|
//! | `entry` | carries out a ban, a removal or a revocation, here and on all nodes |
//! | `follow` | follows the log of what every node carries out |
//! | `answer` | answers the questions of other nodes |
//! | `presence` | beats, and who the others are |

mod answer;
pub mod entry;
mod follow;
mod presence;

use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;

pub use self::follow::LogFollower;
use crate::actors::shared::Shared;
use crate::actors::store::StoreError;
use crate::bus::{Batch, Subscription, Topic};
use crate::http::Hub;
use crate::relay::WORKER;

/// How long the start waits until the node hears what the others tell all. Without that it reads the
/// log every second all the same.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What this node hears of the others. It begins before the hub reads what the log is about, so
/// nothing is missed in between.
pub struct Listening {
    batches: mpsc::UnboundedReceiver<Batch>,
    /// To all nodes, and to this one.
    subscriptions: [Subscription; 2],
    /// It begins behind the last entry of the log that was there before anything was read.
    pub follower: Arc<LogFollower>,
}

/// The tasks of a node, which run until it stops.
pub struct NodeTasks {
    stop: watch::Sender<bool>,
    /// Held while the row of this node is written.
    row_turn: Arc<Mutex<()>>,
}

impl Listening {
    /// Subscribes to what concerns all nodes, and then reads who they are and how far the log goes.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn begin(shared: &Shared) -> Result<Self, StoreError> {
        let (sender, batches) = mpsc::unbounded_channel();
        shared.bus_receiver.set_node(sender);
        let (all, all_confirmed) = shared.bus.subscribe(Topic::All, WORKER);
        let (own, own_confirmed) = shared.bus.subscribe(Topic::Node(shared.node.boot), WORKER);
        let confirmed = futures_util::future::join(all_confirmed, own_confirmed);
        if timeout(SUBSCRIBE_TIMEOUT, confirmed).await.is_err() {
            log::warn!("the bus does not confirm subscriptions; the start goes on without");
        }
        presence::read_rows(shared).await?;
        let position = shared.store.last_log_entry().await?;
        let follower = Arc::new(LogFollower::new(position));
        Ok(Self { batches, subscriptions: [all, own], follower })
    }
}

impl NodeTasks {
    /// Starts the tasks of this node, on a thread of their own.
    pub fn start(hub: Hub, listening: Listening) -> Self {
        let (stop, stopped) = watch::channel(false);
        let Listening { batches, subscriptions, follower } = listening;
        let arbiter = Arbiter::new().handle();
        arbiter.spawn(presence::beat(hub.clone(), stopped.clone()));
        let row_turn = Arc::<Mutex<()>>::default();
        arbiter.spawn(presence::write_row(hub.clone(), Arc::clone(&row_turn), stopped.clone()));
        arbiter.spawn(follow::follow(hub.clone(), Arc::clone(&follower), stopped));
        arbiter.spawn(async move {
            answer::answer_all(hub, batches, follower).await;
            drop(subscriptions);
        });
        Self { stop, row_turn }
    }

    /// Says to the others that this node stops. The tasks end by themselves.
    pub async fn stop(&self, hub: &Hub) {
        self.stop.send_replace(true);
        presence::leave(&hub.shared, &self.row_turn).await;
    }
}
