//! Migrations: up, down, up again, and two nodes at once.

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;
use orderhub::db::migrate::{self, MigrateError, MigrationState};

use crate::fixture::with_postgres;
use crate::postgres::TestDatabase;

fn up_down_up(url: DatabaseUrl) {
    let mut connection = DbConnection::open(&url).expect("a database");
    let applied = |connection: &mut DbConnection| -> Vec<bool> {
        let status = migrate::status(connection).expect("a status");
        status.iter().map(|(_, state)| *state == MigrationState::Applied).collect()
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

/// What a newer version leaves behind.
const NEWER: &str = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')";

fn newer(url: DatabaseUrl) {
    migrate::bring_up_to_date(&url).expect("up");
    migrate::check(&url).expect("up to date");
    DbConnection::open(&url).expect("a database").batch_execute(NEWER).expect("a newer version");
    for refused in [migrate::bring_up_to_date(&url).map(drop), migrate::check(&url)] {
        let refused = refused.expect_err("newer");
        assert!(matches!(&refused, MigrateError::Newer(names) if names == &["29990101000000"]));
        assert!(refused.to_string().contains("29990101000000"), "{refused}");
    }
    let status = migrate::status_of(&url).expect("a status");
    assert_eq!(status.last(), Some(&("29990101000000".to_owned(), MigrationState::Unknown)));
}

fn older(url: DatabaseUrl) {
    let missing = |url| match migrate::check(url) {
        Err(MigrateError::Pending(names)) => names,
        other => panic!("{other:?}"),
    };
    let all = missing(&url);
    assert_eq!(all.len(), migrate::status_of(&url).expect("a status").len());
    migrate::bring_up_to_date(&url).expect("up");
    let last = all.last().expect("some").replace('-', "")[..14].to_owned();
    let forget = format!("DELETE FROM __diesel_schema_migrations WHERE version LIKE '{last}%'");
    DbConnection::open(&url).expect("a database").batch_execute(&forget).expect("an older one");
    assert_eq!(missing(&url), all[all.len() - 1..]);
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

#[test]
fn tables_of_a_newer_version_are_refused_by_name() {
    on_sqlite(newer);
    with_postgres(newer);
}

#[test]
fn tables_of_an_older_version_are_reported_without_auto_migrate() {
    on_sqlite(older);
    with_postgres(older);
}

#[test]
fn a_file_that_is_not_utf_8_is_refused() {
    on_sqlite(|url| {
        let DatabaseUrl::Sqlite(path) = &url else { panic!("not a file") };
        let utf16 = "PRAGMA encoding = 'UTF-16'; CREATE TABLE theirs (a)";
        let mut file = diesel::SqliteConnection::establish(path.to_str().expect("UTF-8"));
        file.as_mut().expect("a file").batch_execute(utf16).expect("UTF-16");
        for refused in [migrate::bring_up_to_date(&url).map(drop), migrate::check(&url)] {
            let refused = refused.expect_err("UTF-16").to_string();
            assert!(refused.contains("is UTF-16le, it must be UTF-8"), "{refused}");
        }
    });
}

#[test]
fn a_server_database_that_is_not_utf_8_is_refused() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let with = format!("TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        let Some(database) = TestDatabase::create_with(&with) else { return };
        for refused in
            [migrate::bring_up_to_date(&database.url).map(drop), migrate::check(&database.url)]
        {
            let refused = refused.expect_err(encoding).to_string();
            assert!(refused.contains(&format!("is {encoding}, it must be UTF-8")), "{refused}");
            assert!(refused.contains("CREATE DATABASE"), "{refused}");
        }
    }
}

#[test]
fn a_user_who_may_not_read_the_list_of_migrations_is_not_kept_out() {
    let Some(database) = TestDatabase::create() else { return };
    migrate::bring_up_to_date(&database.url).expect("up");
    let DatabaseUrl::Postgres(url) = &database.url else { panic!("no server") };
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    database.beside(&format!("CREATE ROLE {role} LOGIN"));
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let checked = migrate::check(&format!("{scheme}://{role}@{host}").parse().expect("a URL"));
    database.beside(&format!("DROP ROLE {role}"));
    checked.expect("nothing that it may not do");
}
