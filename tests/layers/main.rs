//! The arrows of the architecture that the compiler does not see: a file of the hub imports only from
//! its own layer and those below, and keeps away from crates that are not its business. The same for
//! the transport, which is a crate and has layers too. And every file says what it is for, and stays
//! short.

mod imports;

use std::fmt;
use std::path::{Path, PathBuf};

use imports::{imports, is_below};

/// The longest that a file may be.
const MOST_LINES: usize = 500;

/// The crates of the workspace that have a layer among the hub's modules.
const CRATES: &[&str] = &["load", "transport"];

/// The layer of each module, by the longest prefix of its path that is here.
const LAYERS: &[(&str, u8)] = &[
    ("log_once", 0),
    ("metrics", 0),
    ("mutate", 0),
    ("permits", 0),
    ("process", 0),
    ("recent", 0),
    ("webhooks::schedule", 0),
    ("config", 1),
    ("room", 2),
    ("connection", 2),
    ("session", 2),
    ("rate_limit", 2),
    ("auth", 2),
    ("db", 2),
    ("webhooks", 2),
    ("transport", 3),
    ("bus", 2),
    ("relay", 2),
    ("actors", 4),
    ("actors::broadcast", 4),
    ("actors::cluster", 4),
    ("actors::store", 4),
    ("actors::resumes", 4),
    ("actors::reachable", 4),
    ("actors::alarms", 4),
    ("actors::shared", 4),
    ("actors::webhooks", 4),
    ("actors::peer", 5),
    ("actors::order_room", 6),
    ("actors::supervisor", 7),
    ("actors::connection", 8),
    ("cluster", 9),
    ("server", 9),
    ("http", 9),
    ("transport::engineio", 9),
    ("main", 10),
    ("cli", 10),
    ("load", 10),
];

/// What a folder never imports, though it may lie below: the reason is in the architecture.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("config", &["actix", "diesel"]),
    ("room", &["actix", "diesel"]),
    ("connection", &["actix", "diesel"]),
    ("session", &["actix", "diesel"]),
    ("rate_limit", &["actix", "diesel"]),
    ("bus", &["actix", "diesel"]),
    ("relay", &["actix", "diesel"]),
    ("db", &["actix"]),
    ("webhooks", &["actix", "diesel"]),
    ("transport", &["protocol::client", "protocol::events", "protocol::server"]),
];

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Violation {
    /// It imports from a layer above its own.
    Upward { import: String, from: u8, to: u8 },
    /// It imports what is not its business.
    Forbidden { import: String },
    /// It belongs to no layer, or imports a module that belongs to none.
    Unknown { module: String },
    /// It does not say what it is for.
    NoHeader,
    /// It is too long.
    TooLong { lines: usize },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upward { import, from, to } => {
                write!(f, "imports upward, from layer {to} into {from}: {import}")
            }
            Self::Forbidden { import } => write!(f, "must not import {import}"),
            Self::Unknown { module } => write!(f, "{module} has no layer in this test"),
            Self::NoHeader => f.write_str("does not open with //!"),
            Self::TooLong { lines } => write!(f, "has {lines} lines, more than {MOST_LINES}"),
        }
    }
}

/// The layer of a module, like `actors::store::batcher`.
fn layer_of(module: &str) -> Option<u8> {
    let known = LAYERS.iter().filter(|(prefix, _)| is_below(module, prefix));
    known.max_by_key(|(prefix, _)| prefix.len()).map(|(_, layer)| *layer)
}

/// The module that a file is, like `actors::store` for `actors/store.rs`; empty for the crate.
fn module_of(file: &Path) -> String {
    let path = file.with_extension("");
    let parts = path.iter().map(|part| part.to_str().expect("UTF-8"));
    parts.filter(|part| !["mod", "lib"].contains(part)).collect::<Vec<_>>().join("::")
}

/// All that is wrong with a file, by its path below `src` and its text.
fn violations(file: &Path, text: &str) -> Vec<Violation> {
    let module = module_of(file);
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(Violation::NoHeader);
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        found.push(Violation::TooLong { lines });
    }
    // The crate's own file and a folder's list of modules hold the arrows' ends, and draw none.
    if module.is_empty() || module == "actors" {
        return found;
    }
    let Some(layer) = layer_of(&module) else {
        found.push(Violation::Unknown { module });
        return found;
    };
    let forbidden = FORBIDDEN.iter().filter(|(folder, _)| is_below(&module, folder));
    let forbidden: Vec<&str> = forbidden.flat_map(|(_, names)| names.iter().copied()).collect();
    for import in imports(&module, text) {
        // `actix` stands for the whole family: actix_web, actix_rt, …
        let is_forbidden = |name: &str| {
            is_below(&import, name)
                || (!name.contains("::") && import.starts_with(&format!("{name}_")))
        };
        if forbidden.iter().any(|name| is_forbidden(name)) {
            found.push(Violation::Forbidden { import: import.clone() });
        }
        let is_crate = CRATES.iter().any(|name| is_below(&import, name));
        let inner = import.strip_prefix("crate::").or(is_crate.then_some(&*import));
        let Some(inner) = inner else { continue };
        match layer_of(inner) {
            Some(other) if other > layer => {
                found.push(Violation::Upward { import, from: other, to: layer });
            }
            Some(_) => {}
            None => found.push(Violation::Unknown { module: inner.to_owned() }),
        }
    }
    found
}

/// Every Rust file below a folder, less what cargo and npm have put there.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_keeps_to_its_layer_has_a_header_and_is_short() {
    let mut complaints = Vec::new();
    // The transport's files are judged like a folder of the hub.
    for (source, folder, root) in
        [("src", "", "crate::"), ("crates/transport/src", "transport", "crate::transport::")]
    {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let mut files = Vec::new();
        rust_files(&source, &mut files);
        assert!(files.len() > 20, "{} is not the source", source.display());
        files.sort();
        for path in files {
            let text = std::fs::read_to_string(&path).expect("a text").replace("crate::", root);
            let file = path.strip_prefix(&source).expect("below the source");
            let wrong = violations(&Path::new(folder).join(file), &text);
            complaints.extend(wrong.iter().map(|wrong| format!("{} {wrong}", path.display())));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn files_beside_the_source_have_a_header_and_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["crates", "tests", "benches", "examples"] {
        rust_files(&root.join(folder), &mut files);
    }
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a text");
        assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
        assert!(text.lines().count() <= MOST_LINES, "{} is too long", path.display());
    }
}

/// What is wrong with a file of this text, below its header.
fn wrong(file: &str, text: &str) -> Vec<Violation> {
    violations(Path::new(file), &format!("//! A sample.\n{text}"))
}

fn upward(import: &str, from: u8, to: u8) -> Violation {
    Violation::Upward { import: import.into(), from, to }
}

#[test]
fn an_import_from_above_is_caught_in_every_form() {
    let caught = [upward("crate::actors::connection::Connection", 8, 2)];
    for text in [
        "use crate::actors::connection::Connection;",
        "    use crate::actors::connection::Connection;",
        "pub use crate::actors::connection::Connection;",
        "pub(super) use crate::actors::connection::Connection as Client;",
        "use crate::{\n    actors::{\n        connection::Connection,\n    },\n};",
        "use crate::{metrics::Metrics, actors::connection::{Connection}};",
        "use super::super::actors::connection::Connection;",
        "fn f(session: &crate::actors::connection::Connection) {}",
    ] {
        assert_eq!(wrong("room/policy.rs", text), caught, "{text}");
    }
    assert_eq!(
        wrong("actors/store/orders.rs", "use crate::actors::{order_room, shared};"),
        [upward("crate::actors::order_room", 6, 4)]
    );
    assert_eq!(
        wrong("actors/order_room/chat.rs", "use super::super::connection::Connection;"),
        [upward("crate::actors::connection::Connection", 8, 6)]
    );
    assert_eq!(wrong("room/order.rs", "use transport::Frame;"), [upward("transport::Frame", 3, 2)]);
    assert_eq!(wrong("http/mod.rs", "fn f(_: &load::Rng) {}"), [upward("load::Rng", 10, 9)]);
    let engine = "crate::transport::engineio::Engine";
    assert_eq!(wrong("transport/queue.rs", "use super::engineio::Engine;"), [upward(engine, 9, 3)]);
    assert_eq!(wrong("permits.rs", "use crate::config::*;"), [upward("crate::config", 1, 0)]);
}

#[test]
fn a_forbidden_import_is_caught() {
    let forbidden = |import: &str| vec![Violation::Forbidden { import: import.into() }];
    for (file, text, import) in [
        ("room/recent_messages.rs", "use actix::Actor;", "actix::Actor"),
        ("db/orders.rs", "use actix_rt::spawn;", "actix_rt::spawn"),
        ("config/mod.rs", "use diesel::prelude::*;", "diesel::prelude"),
        (
            "transport/queue.rs",
            "use protocol::server::ServerEvent;",
            "protocol::server::ServerEvent",
        ),
        (
            "transport/queue.rs",
            "fn f(_: &protocol::events::location::Fix) {}",
            "protocol::events::location::Fix",
        ),
    ] {
        assert_eq!(wrong(file, text), forbidden(import), "{file}: {text}");
    }
    // A crate of another family, and one whose business it is.
    assert_eq!(wrong("room/recent_messages.rs", "use actixoid::Actor;"), []);
    assert_eq!(wrong("db/orders.rs", "use diesel::prelude::*;"), []);
}

#[test]
fn an_allowed_import_is_not_caught() {
    for (file, text) in [
        ("actors/store/orders.rs", "use super::{Ban, StoreError};\nuse crate::db::bans;"),
        ("room/policy.rs", "// use crate::server;\nlet s = \"use crate::server;\";"),
        ("room/policy.rs", "/// use crate::server;\nuse crate::permits::Permit;"),
        ("lib.rs", "pub use crate::server;"),
        ("actors/mod.rs", "pub use connection::Connection;"),
        ("cli/serve.rs", "use crate::server;"),
    ] {
        assert_eq!(wrong(file, text), [], "{file}: {text}");
    }
}

#[test]
fn a_missing_header_a_long_file_and_a_module_without_a_layer_are_caught() {
    assert_eq!(violations(Path::new("permits.rs"), "// Ids.\n"), [Violation::NoHeader]);
    let long = "//! Long.\n".repeat(MOST_LINES + 1);
    assert_eq!(
        violations(Path::new("permits.rs"), &long),
        [Violation::TooLong { lines: MOST_LINES + 1 }]
    );
    let unknown = |module: &str| [Violation::Unknown { module: module.into() }];
    assert_eq!(wrong("misc.rs", ""), unknown("misc"));
    assert_eq!(wrong("permits.rs", "use crate::misc::Thing;"), unknown("misc::Thing"));
}
