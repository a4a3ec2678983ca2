//! The lock of a SQLite database: a locked file beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Holder, LockError, LockState};
use protocol::time::Timestamp;

/// How many bytes of a lock file are read.
const MAX_HOLDER: u64 = 200;

/// Takes the lock of this database, or checks that the file is still the one that is locked.
pub(super) fn acquire(
    database: &Path,
    held: &mut Option<(File, PathBuf)>,
    host: &str,
) -> Result<LockState, LockError> {
    if let Some((file, path)) = held {
        let failed = |error| LockError::File(path.clone(), error);
        if is_same_file(file, path).map_err(failed)? {
            return Ok(LockState::Held);
        }
    }
    *held = None;
    let path = lock_file_of(database).map_err(|error| LockError::File(database.into(), error))?;
    let failed = |error| LockError::File(path.clone(), error);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = file.map_err(failed)?;
    match file.try_lock() {
        // The file was replaced between the two calls; the next check finds the other one.
        Ok(()) if !is_same_file(&file, &path).map_err(failed)? => {
            Err(failed(io::Error::other("it was replaced just now")))
        }
        Ok(()) => {
            let (pid, since) = (std::process::id(), Timestamp::now());
            let line = format!("process {pid} on {host}, since {since}\n");
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
            file.write_all(line.as_bytes()).map_err(failed)?;
            *held = Some((file, path));
            Ok(LockState::Held)
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = Vec::new();
            file.take(MAX_HOLDER).read_to_end(&mut text).map_err(failed)?;
            Ok(LockState::HeldByOther(Holder::from_lock_file(&String::from_utf8_lossy(&text))))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The lock file lies beside the database's own file, whichever path leads to it.
fn lock_file_of(database: &Path) -> io::Result<PathBuf> {
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let file = if database.exists() {
        database.canonicalize()?
    } else {
        fs::create_dir_all(folder)?;
        folder.canonicalize()?.join(database.file_name().unwrap_or_default())
    };
    let mut path = file.into_os_string();
    path.push(".lock");
    Ok(path.into())
}

/// Whether an open file is still the one at its path.
fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(theirs) => Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
