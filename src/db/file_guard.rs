//! Keeps a hub from a database that it must not use any more.
//!
//! SQLite does not notice when its file is deleted or replaced, and what it then writes is lost. So
//! the files are checked after each piece of work, before it is acknowledged. A guard that has
//! refused once refuses for good: connections may be open on different files then, and only a
//! restart ends that.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use diesel::prelude::*;

use super::connection::DbConnection;
use crate::config::DatabaseUrl;

/// The endings of the files that belong together; the database's own file comes first.
const FILES: &[&str] = &["", "-wal", "-shm"];

/// Whether the database may be used.
pub struct FileGuard {
    url: DatabaseUrl,
    /// Why the database must not be used; once set, it stays.
    reason: OnceLock<String>,
    /// The files that were opened; unset before that, and for a server.
    opened: OnceLock<Vec<OpenedFile>>,
    /// An idle connection. While it is open, SQLite neither deletes nor creates the files beside
    /// the database, so if they change, another program did it.
    spare_connection: Mutex<Option<DbConnection>>,
}

struct OpenedFile {
    path: PathBuf,
    id: FileId,
}

/// Identifies a file: the device and the inode number.
type FileId = (u64, u64);

impl FileGuard {
    /// A guard of this database that allows its use.
    pub fn new(url: &DatabaseUrl) -> Self {
        let (reason, opened) = (OnceLock::new(), OnceLock::new());
        Self { url: url.clone(), reason, opened, spare_connection: Mutex::default() }
    }

    /// Why the database must not be used, if so.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// Forbids the use of the database from now on.
    pub fn disable(&self, reason: String) {
        if self.reason.set(reason).is_ok()
            && let Some(reason) = self.reason()
        {
            log::error!("the database is disabled until a restart, and chat is refused: {reason}");
        }
    }

    /// Remembers which files were opened, with the first connection.
    ///
    /// # Errors
    /// If the files cannot be inspected.
    pub fn record_files(&self) -> ConnectionResult<()> {
        let DatabaseUrl::Sqlite(path) = &self.url else { return Ok(()) };
        let mut spare_connection =
            self.spare_connection.lock().unwrap_or_else(PoisonError::into_inner);
        if spare_connection.is_some() {
            return Ok(());
        }
        let bad = |error: &dyn std::fmt::Display| ConnectionError::BadConnection(error.to_string());
        let mut connection = DbConnection::open(&self.url)?;
        // A query makes SQLite open the files beside the database.
        let read = diesel::sql_query("SELECT count(*) FROM sqlite_master").execute(&mut connection);
        read.map_err(|error| bad(&error))?;
        let mut opened = Vec::new();
        for suffix in FILES {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            let path = PathBuf::from(name);
            let id = id_of(&path).map_err(|error| bad(&error))?;
            // On a file system without shared memory there is no `-shm` file.
            opened.extend(id.map(|id| OpenedFile { path, id }));
        }
        self.opened.get_or_init(|| opened);
        *spare_connection = Some(connection);
        Ok(())
    }

    /// Whether the database may be used and its files are still those that were opened. Logs
    /// nothing.
    pub fn is_usable(&self) -> bool {
        self.reason().is_none() && self.missing_file().is_none()
    }

    /// Checks whether the files are still those that were opened.
    ///
    /// # Errors
    /// Returns why the database must not be used.
    pub fn check(&self) -> Result<(), &str> {
        if self.reason().is_none()
            && let Some((place, lost)) = self.missing_file()
        {
            let path = lost.path.display();
            self.disable(format!("its file {path} was deleted or replaced; restart the hub"));
            if place > 0 {
                self.checkpoint_log();
            }
        }
        self.reason().map_or(Ok(()), Err)
    }

    /// The first file that is missing or replaced, with its index in [`FILES`].
    fn missing_file(&self) -> Option<(usize, &OpenedFile)> {
        self.opened.get()?.iter().enumerate().find(|(_, one)| one.is_missing())
    }

    /// The database's own file exists, but the log beside it does not. Acknowledged data that is
    /// only in the log is moved into the file while the log is still open.
    fn checkpoint_log(&self) {
        let mut spare_connection =
            self.spare_connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = spare_connection.as_mut().map(DbConnection::checkpoint) {
            log::error!("data that only the write-ahead log had may be lost: {error}");
        }
    }
}

impl OpenedFile {
    /// If the folder cannot be read, the file does not count as missing.
    fn is_missing(&self) -> bool {
        id_of(&self.path).is_ok_and(|id| id != Some(self.id))
    }
}

/// Which file is at this path, if there is one.
fn id_of(path: &std::path::Path) -> io::Result<Option<FileId>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_files(folder: &std::path::Path) -> (FileGuard, PathBuf) {
        let path = folder.join("hub.sqlite3");
        let file_guard = FileGuard::new(&DatabaseUrl::Sqlite(path.clone()));
        file_guard.record_files().expect("the files");
        assert_eq!(file_guard.check(), Ok(()));
        (file_guard, path)
    }

    #[test]
    fn a_file_that_is_deleted_or_replaced_disables_the_database_for_good() {
        for suffix in FILES {
            let folder = tempfile::tempdir().expect("a folder");
            let (file_guard, path) = with_files(folder.path());
            let path = PathBuf::from(format!("{}{suffix}", path.display()));
            let away = folder.path().join("away");
            fs::rename(&path, &away).expect("moved");
            let reason = file_guard.check().expect_err("it is gone");
            assert!(reason.contains(&format!("{} was deleted", path.display())), "{reason}");
            fs::rename(&away, &path).expect("moved back");
            assert!(file_guard.check().is_err(), "for good");
        }
    }

    #[test]
    fn a_copy_in_its_place_is_another_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file_guard, path) = with_files(folder.path());
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).expect("copied");
        fs::rename(&copy, &path).expect("replaced");
        assert!(file_guard.check().is_err());
    }

    #[test]
    fn connections_that_come_and_go_change_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file_guard, path) = with_files(folder.path());
        let url = DatabaseUrl::Sqlite(path);
        for _ in 0..3 {
            let mut connection = DbConnection::open(&url).expect("a connection");
            diesel::sql_query("CREATE TABLE IF NOT EXISTS t (a)")
                .execute(&mut connection)
                .expect("made");
            connection.checkpoint().expect("a checkpoint");
        }
        assert_eq!(file_guard.check(), Ok(()));
    }

    #[test]
    fn a_server_has_no_files() {
        let file_guard = FileGuard::new(&DatabaseUrl::Postgres("postgres://h/db".into()));
        file_guard.record_files().expect("nothing to do");
        assert_eq!(file_guard.check(), Ok(()));
        file_guard.disable("another hub has it".to_owned());
        assert_eq!(file_guard.check(), Err("another hub has it"));
    }
}
