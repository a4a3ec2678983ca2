//! Creates what the hub makes for itself: the data directory and, on loopback, a secret.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::auth::long_enough;
use super::{Config, ConfigError, secret};

impl Config {
    /// Creates what is missing: the data directory if it is used, and the development secret if no
    /// key was given. Several processes may call this at once.
    ///
    /// # Errors
    /// `DATA_DIR` if it cannot be written, or if the secret in it is too short.
    pub fn prepare(&mut self) -> Result<(), ConfigError> {
        self.prepare_data_dir()?;
        self.prepare_secret()
    }

    /// Creates the data directory (mode 0700) if the database or the secret is in it.
    ///
    /// # Errors
    /// `DATA_DIR` if it cannot be created.
    pub fn prepare_data_dir(&self) -> Result<(), ConfigError> {
        if !self.database.in_data_dir && self.auth.development_secret.is_none() {
            return Ok(());
        }
        let dir = &self.server.data_dir;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
            ConfigError::new("DATA_DIR", format!("cannot make {}: {error}", dir.display()))
        })
    }

    /// Reads the development secret if no key was given, and creates it first (mode 0600) if it
    /// does not exist.
    ///
    /// # Errors
    /// `DATA_DIR` if it cannot be written, or if the secret in it is too short.
    fn prepare_secret(&mut self) -> Result<(), ConfigError> {
        let Some(path) = self.auth.development_secret.as_deref() else { return Ok(()) };
        if !path.exists() {
            self.prepare_data_dir()?;
            write_new(path, &random_hex()?).map_err(|error| {
                ConfigError::new("DATA_DIR", format!("cannot write {}: {error}", path.display()))
            })?;
        }
        self.read_secret()
    }

    /// Reads the development secret if it exists; creates nothing.
    ///
    /// # Errors
    /// `DATA_DIR` if the secret in it cannot be read or is too short.
    pub fn read_secret(&mut self) -> Result<(), ConfigError> {
        let Some(path) = self.auth.development_secret.as_deref() else { return Ok(()) };
        if path.exists() {
            let named = format!("DATA_DIR ({})", path.display());
            let text = secret::read(&named, path)?;
            self.auth.secret = Some(long_enough(&named, text)?);
        }
        Ok(())
    }
}

/// 32 random bytes as 64 hexadecimal digits.
fn random_hex() -> Result<String, ConfigError> {
    let digits = (0..4).map(|_| getrandom::u64().map(|bits| format!("{bits:016x}")));
    digits.collect::<Result<String, _>>().map_err(|error| {
        ConfigError::new("JWT_SECRET", format!("the system gives no random bytes: {error}"))
    })
}

/// Writes a secret that another process may write at the same time: the file appears complete, and
/// the first one stays.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // A random name, because process ids repeat from container to container.
    let draft = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
    let placed = written.and_then(|()| match fs::hard_link(&draft, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Some mounts have no hard links. There the last secret stays.
        Err(_) => fs::copy(&draft, path).map(drop),
    });
    let removed = fs::remove_file(&draft);
    placed.and(removed)
}
