//! What an app has asked on one connection, and what it keeps until that ends.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use serde_json::Value;

use crate::guests::Bar;
use crate::line::Line;
use crate::world::Message;

/// What belongs to one connection.
pub struct Talk {
    pub line: Line,
    next_id: u64,
    pub asked: HashMap<u64, Asked>,
    pub join_after: Instant,
    /// Messages behind a page that is still to be read, by order and seq.
    pub ahead: BTreeMap<(String, usize), Message>,
    pub marks: HashMap<(String, String), usize>,
    /// When the last position was taken.
    pub taken: Option<Instant>,
}

/// A question, when it was asked, and where its user stood.
pub struct Asked {
    pub what: Ask,
    pub at: Instant,
    pub bar: Option<Bar>,
}

pub enum Ask {
    Join { order: String, status: usize },
    Page(String),
    Say(String),
    Locate { old: bool },
    Mark,
}

impl Talk {
    pub fn new(line: Line) -> Self {
        Self {
            line,
            next_id: 1,
            asked: HashMap::new(),
            join_after: Instant::now(),
            ahead: BTreeMap::new(),
            marks: HashMap::new(),
            taken: None,
        }
    }

    pub async fn ask(&mut self, event: &str, data: &Value, what: Ask, bar: Option<Bar>) {
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, Asked { what, at: Instant::now(), bar });
        self.line.send(event, data, id).await;
    }

    /// Whether it is on the way into this order.
    pub fn waits_for(&self, order: &str) -> bool {
        self.asked.values().any(|asked| match &asked.what {
            Ask::Join { order: of, .. } | Ask::Page(of) => of == order,
            _ => false,
        })
    }
}

impl Ask {
    pub fn name(&self) -> &str {
        match self {
            Self::Join { .. } => "order:join",
            Self::Page(_) => "chat:history",
            Self::Say(content) => content,
            Self::Locate { .. } => "driver:location",
            Self::Mark => "chat:read",
        }
    }

    pub fn needs_rights(&self) -> bool {
        !matches!(self, Self::Mark)
    }
}
