//! The lock of a file, and how a session names itself.

use std::fs;
use std::path::Path;

use super::*;

fn two(database: &Path) -> (InstanceLock, InstanceLock) {
    let url = DatabaseUrl::Sqlite(database.to_owned());
    (InstanceLock::new(&url, Sharing::Alone), InstanceLock::new(&url, Sharing::Alone))
}

fn is_held(lock: &mut InstanceLock) -> bool {
    lock.acquire().expect("a look at the lock") == LockState::Held
}

#[test]
fn one_of_two_has_the_lock_and_the_other_learns_its_holder() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut first, mut second) = two(&folder.path().join("new/hub.sqlite3"));
    assert!(is_held(&mut first) && is_held(&mut first), "still");
    let LockState::HeldByOther(holder) = second.acquire().expect("a look") else {
        panic!("taken twice")
    };
    let said = format!("process {} on {}, since 2", std::process::id(), first.host);
    assert!(holder.to_string().starts_with(&said), "{holder}");
    drop(first);
    assert!(is_held(&mut second));
}

#[test]
fn another_way_to_the_same_file_has_the_same_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, link) = (folder.path().join("hub.sqlite3"), folder.path().join("link"));
    File::create(&database).expect("a file");
    std::os::unix::fs::symlink(&database, &link).expect("a link");
    let (mut first, mut second) = (two(&database).0, two(&link).0);
    assert!(is_held(&mut first) && !is_held(&mut second));
}

#[test]
fn a_removed_lock_file_is_created_again_unless_another_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut first, mut second) = two(&folder.path().join("hub.sqlite3"));
    assert!(is_held(&mut first));
    let file = folder.path().join("hub.sqlite3.lock");
    fs::remove_file(&file).expect("removed");
    assert!(is_held(&mut first) && !is_held(&mut second), "taken again");
    fs::remove_file(&file).expect("removed");
    assert!(is_held(&mut second) && !is_held(&mut first), "another was faster");
}

#[test]
fn a_session_is_known_by_its_name() {
    let since = "2026-11-30T20:00:00Z";
    let holder = Holder::from_session("orderhub 12@web-1 0f1e2d3c", since);
    assert_eq!(holder.to_string(), format!("process 12 on web-1, since {since}"));
    assert_eq!(Holder::from_session("psql", since).to_string(), "an unknown process");
}
