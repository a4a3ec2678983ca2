//! Which tokens count, and what their claims are called.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::parse;
use super::secret::{self, Secret};
use super::settings::Chosen;
use super::{ConfigError, ServerConfig};
use crate::protocol::role::Role;

/// The shortest HS256 secret, in bytes (RFC 7518, section 3.2: as long as the hash).
pub(super) const MIN_SECRET_BYTES: usize = 32;

/// Claims whose meaning RFC 7519 or the hub has fixed; no setting may give them another.
const FIXED_CLAIMS: &[&str] = &["exp", "nbf", "iat", "iss", "aud", "orders"];

/// Which tokens count, and what their claims are called.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// `JWT_SECRET` or `JWT_SECRET_FILE`: for HS256, at least 32 bytes. On loopback the hub makes
    /// one where neither this nor a public key is set; until [`super::Config::prepare`] has done
    /// so there is none.
    pub secret: Option<Secret>,
    /// The file of the secret that the hub makes for itself; none where a key was given.
    pub development_secret: Option<PathBuf>,
    /// `JWT_PUBLIC_KEY`: a PEM file; RS256, ES256 or `EdDSA` by the kind of key. Counts beside the
    /// secret where both are set.
    pub public_key: Option<PublicKeyPem>,
    /// `JWT_ISSUER`: the `iss` that a token must have, default not checked.
    pub issuer: Option<String>,
    /// `JWT_AUDIENCE`: the `aud` that a token must have, default not checked.
    pub audience: Option<String>,
    /// `JWT_LEEWAY_SECS`: clocks may differ by so much, seconds, default 5. It is added to the
    /// life of every token.
    pub leeway: Duration,
    /// `JWT_USER_CLAIM`: the claim that names the user, default `id`, else `sub`.
    pub user_claim: Option<String>,
    /// `JWT_NAME_CLAIM`: the claim with the name to show, default `name`.
    pub name_claim: String,
    /// `JWT_ROLE_CLAIM`: the claim with the role, default `role`.
    pub role_claim: String,
    /// `JWT_ROLE_MAP`: what the back end calls the roles, default none. Comes before the hub's
    /// own names: `admin=support` leaves no admin.
    pub role_map: HashMap<String, Role>,
    /// `JWT_STAFF_AUDIENCE`: `admin` and `service` count only in tokens with this `aud`, default
    /// in all. Where `JWT_AUDIENCE` is set too, such a token needs both.
    pub staff_audience: Option<String>,
}

/// A public key as it was read.
#[derive(Debug, Clone)]
pub struct PublicKeyPem {
    /// The file it came from.
    pub path: PathBuf,
    /// Its text.
    pub pem: String,
}

/// The settings as they are given.
#[derive(Args)]
#[expect(clippy::struct_field_names, reason = "a field's name is its flag")]
pub(super) struct AuthArgs {
    /// HS256 secret, at least 32 bytes [default: generated, on loopback only]
    #[arg(long, env = "JWT_SECRET", value_name = "SECRET", hide_env_values = true)]
    #[arg(value_parser = parse::text)]
    jwt_secret: Option<String>,

    /// A file that holds the HS256 secret
    #[arg(long, env = "JWT_SECRET_FILE", value_name = "FILE", value_parser = parse::path)]
    jwt_secret_file: Option<PathBuf>,

    /// Public key, a PEM file: RSA, EC on P-256 or Ed25519
    #[arg(long, env = "JWT_PUBLIC_KEY", value_name = "FILE", value_parser = parse::path)]
    jwt_public_key: Option<PathBuf>,

    /// The iss that a token must have [default: not checked]
    #[arg(long, env = "JWT_ISSUER", value_name = "ISS", value_parser = parse::text)]
    jwt_issuer: Option<String>,

    /// The aud that a token must have [default: not checked]
    #[arg(long, env = "JWT_AUDIENCE", value_name = "AUD", value_parser = parse::text)]
    jwt_audience: Option<String>,

    /// Clocks may differ by so much (seconds)
    #[arg(long = "jwt-leeway-secs", env = "JWT_LEEWAY_SECS", value_name = "SECS")]
    #[arg(default_value = "5", value_parser = parse::secs(0, 300))]
    jwt_leeway: Duration,

    /// The claim that names the user [default: id, else sub]
    #[arg(long, env = "JWT_USER_CLAIM", value_name = "CLAIM", value_parser = claim)]
    jwt_user_claim: Option<String>,

    /// The claim with the name to show
    #[arg(long, env = "JWT_NAME_CLAIM", value_name = "CLAIM")]
    #[arg(default_value = "name", value_parser = claim)]
    jwt_name_claim: String,

    /// The claim with the role
    #[arg(long, env = "JWT_ROLE_CLAIM", value_name = "CLAIM")]
    #[arg(default_value = "role", value_parser = claim)]
    jwt_role_claim: String,

    /// What the back end calls the roles, like COURIER=driver,AGENT=support
    #[arg(long, env = "JWT_ROLE_MAP", value_name = "MAP", value_parser = parse::role_map)]
    jwt_role_map: Option<HashMap<String, Role>>,

    /// The aud without which admin and service do not count [default: not asked for]
    #[arg(long, env = "JWT_STAFF_AUDIENCE", value_name = "AUD", value_parser = parse::text)]
    jwt_staff_audience: Option<String>,
}

fn claim(text: &str) -> Result<String, String> {
    if FIXED_CLAIMS.contains(&text) {
        return Err(format!("none of {}, which have their own meaning", FIXED_CLAIMS.join(", ")));
    }
    parse::text(text)
}

impl AuthArgs {
    pub(super) fn resolve(
        self,
        server: &ServerConfig,
        chosen: Chosen,
    ) -> Result<AuthConfig, ConfigError> {
        let secret = match (chosen, self.jwt_secret, self.jwt_secret_file) {
            (Chosen::Value, Some(secret), _) => Some(long_enough("JWT_SECRET", secret)?),
            (Chosen::File, _, Some(file)) => {
                let secret = secret::read("JWT_SECRET_FILE", &file)?;
                Some(long_enough("JWT_SECRET_FILE", secret)?)
            }
            _ => None,
        };
        let public_key = self.jwt_public_key.as_deref().map(read_pem).transpose()?;
        let no_key = secret.is_none() && public_key.is_none();
        if no_key && !server.is_local() {
            let problem = "the hub can be reached from other machines, so it must be set, at \
                 least 32 bytes (or JWT_SECRET_FILE, or JWT_PUBLIC_KEY)";
            return Err(ConfigError::new("JWT_SECRET", problem));
        }
        Ok(AuthConfig {
            secret,
            development_secret: no_key.then(|| server.data_dir.join("jwt-secret")),
            public_key,
            issuer: self.jwt_issuer,
            audience: self.jwt_audience,
            leeway: self.jwt_leeway,
            user_claim: self.jwt_user_claim,
            name_claim: self.jwt_name_claim,
            role_claim: self.jwt_role_claim,
            role_map: self.jwt_role_map.unwrap_or_default(),
            staff_audience: self.jwt_staff_audience,
        })
    }
}

/// Takes a secret that is as long as its hash.
pub(super) fn long_enough(variable: &str, secret: String) -> Result<Secret, ConfigError> {
    if secret.len() < MIN_SECRET_BYTES {
        let problem =
            format!("{} bytes are too few, it must be at least {MIN_SECRET_BYTES}", secret.len());
        return Err(ConfigError::new(variable, problem));
    }
    Ok(Secret::new(secret))
}

fn read_pem(path: &Path) -> Result<PublicKeyPem, ConfigError> {
    let pem = secret::read("JWT_PUBLIC_KEY", path)?;
    Ok(PublicKeyPem { path: path.to_owned(), pem })
}
