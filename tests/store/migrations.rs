//! Migrations: up, down, up again, and two nodes at once.

use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;
use orderhub::db::migrate;

use crate::fixture::with_postgres;

fn up_down_up(url: DatabaseUrl) {
    let mut connection = DbConnection::open(&url).expect("a database");
    let applied = |connection: &mut DbConnection| -> Vec<bool> {
        migrate::status(connection).expect("a status").iter().map(|(_, applied)| *applied).collect()
    };
    assert!(applied(&mut connection).iter().all(|applied| !applied));
    let ran = migrate::run(&mut connection).expect("up");
    assert_eq!(ran.len(), applied(&mut connection).len());
    assert!(applied(&mut connection).iter().all(|applied| *applied));
    assert_eq!(migrate::run(&mut connection).expect("nothing to do"), Vec::<String>::new());
    assert_eq!(migrate::revert_all(&mut connection).expect("down").len(), ran.len());
    assert!(applied(&mut connection).iter().all(|applied| !applied));
    assert_eq!(migrate::run(&mut connection).expect("up again"), ran);
}

fn many_at_once(url: DatabaseUrl) {
    // The file is there before, so that only the migrations meet.
    drop(DbConnection::open(&url).expect("a database"));
    let nodes: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || {
                let mut connection = DbConnection::open(&url).expect("a database");
                migrate::run(&mut connection).expect("up").len()
            })
        })
        .collect();
    let ran: Vec<_> = nodes.into_iter().map(|node| node.join().expect("no panic")).collect();
    assert_eq!(ran.iter().filter(|ran| **ran > 0).count(), 1, "{ran:?}");
}

fn on_sqlite(test: fn(DatabaseUrl)) {
    let folder = tempfile::tempdir().expect("a folder");
    test(DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3")));
}

#[test]
fn migrations_go_up_and_down_and_up() {
    on_sqlite(up_down_up);
    with_postgres(up_down_up);
}

#[test]
fn nodes_that_start_together_migrate_once() {
    on_sqlite(many_at_once);
    with_postgres(many_at_once);
}

#[test]
fn both_databases_have_migrations_of_the_same_names() {
    let names = |database: &str| {
        let folder = format!("{}/migrations/{database}", env!("CARGO_MANIFEST_DIR"));
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("sqlite"), names("postgres"));
}
