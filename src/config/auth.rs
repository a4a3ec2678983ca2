//! Which tokens are valid, and what their claims are called.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::parse;
use super::role_map::RoleMap;
use super::secret::{self, Secret};
use super::{ConfigError, ServerConfig};

/// The shortest HS256 secret, in bytes (RFC 7518, section 3.2: as long as the hash).
pub(super) const MIN_SECRET_BYTES: usize = 32;

/// Claims whose meaning RFC 7519 or the hub has fixed; no setting may change it.
const FIXED_CLAIMS: &[&str] = &["exp", "nbf", "iat", "iss", "aud", "orders"];

/// Which tokens are valid, and what their claims are called.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// `JWT_SECRET` or `JWT_SECRET_FILE`: for HS256, at least 32 bytes. On loopback, or with
    /// `DEMO=true`, the hub makes a secret if neither this nor a public key is set. Until [`super::Config::prepare`] has done
    /// so, this is none.
    pub secret: Option<Secret>,
    /// `JWT_SECRET_PREVIOUS` or `JWT_SECRET_PREVIOUS_FILE`: tokens that were signed with it are
    /// still valid, default none. It signs no new tokens.
    pub previous_secret: Option<Secret>,
    /// The file of the secret that the hub makes for itself; none if a key was given.
    pub development_secret: Option<PathBuf>,
    /// `JWT_PUBLIC_KEY`: a PEM file; RS256, ES256 or `EdDSA` by the kind of key. If the secret is
    /// set too, both are valid.
    pub public_key: Option<PublicKeyPem>,
    /// `JWT_JWKS`: more public keys, each with a name; they may change while the hub runs.
    pub jwks: Option<JwksSource>,
    /// `JWT_JWKS_CA`: a PEM file of authorities; one of them must have signed the certificate of
    /// the `JWT_JWKS` server. Default: the public authorities, which are built in.
    pub jwks_ca: Option<PathBuf>,
    /// `API_KEYS_FILE`: a TOML file with the API keys of services, default none.
    pub api_keys: Option<PathBuf>,
    /// `JWT_ISSUER`: the `iss` that a token must have, default not checked.
    pub issuer: Option<String>,
    /// `JWT_AUDIENCE`: the `aud` that a token must have, default not checked.
    pub audience: Option<String>,
    /// `JWT_LEEWAY_SECS`: how far clocks may differ, in seconds, default 5. It is added to the life
    /// of every token.
    pub leeway: Duration,
    /// `JWT_USER_CLAIM`: the claim that names the user, default `id`, else `sub`.
    pub user_claim: Option<String>,
    /// `JWT_NAME_CLAIM`: the claim with the displayed name, default `name`.
    pub name_claim: String,
    /// `JWT_ROLE_CLAIM`: the claim with the role or a list of roles, default `role`. If no claim
    /// has that name and it has dots, it is a path: `realm_access.roles`.
    pub role_claim: String,
    /// `JWT_ROLE_MAP`: the back end's names for the roles, default none.
    pub role_map: RoleMap,
    /// `JWT_STAFF_AUDIENCE`: `admin` and `service` are accepted only in tokens with this `aud`,
    /// default in all. If `JWT_AUDIENCE` is set too, such a token needs both.
    pub staff_audience: Option<String>,
}

/// Where a set of public keys comes from. An address is shown without its query, which may contain
/// credentials of the hub.
#[derive(Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A file.
    File(PathBuf),
    /// An address: `https`, or `http` on this machine.
    Url(String),
}

impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(&secret::redacted_url(url)),
        }
    }
}

impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// A public key in PEM form.
#[derive(Debug, Clone)]
pub struct PublicKeyPem {
    /// The file that it was read from.
    pub path: PathBuf,
    /// Its text.
    pub pem: String,
}

/// The settings as they are given.
#[derive(Args)]
pub(super) struct AuthArgs {
    /// HS256 secret, at least 32 bytes [default: generated, on loopback only]
    #[arg(long, env = "JWT_SECRET", value_name = "SECRET", hide_env_values = true)]
    #[arg(value_parser = parse::text)]
    jwt_secret: Option<String>,

    /// A file that holds the HS256 secret
    #[arg(long, env = "JWT_SECRET_FILE", value_name = "FILE", value_parser = parse::path)]
    jwt_secret_file: Option<PathBuf>,

    /// The HS256 secret before that one; its tokens still count
    #[arg(long, env = "JWT_SECRET_PREVIOUS", value_name = "SECRET", hide_env_values = true)]
    #[arg(value_parser = parse::text)]
    jwt_secret_previous: Option<String>,

    /// A file that holds the HS256 secret before that one
    #[arg(long, env = "JWT_SECRET_PREVIOUS_FILE", value_name = "FILE", value_parser = parse::path)]
    jwt_secret_previous_file: Option<PathBuf>,

    /// Public key, a PEM file: RSA, EC on P-256 or Ed25519
    #[arg(long, env = "JWT_PUBLIC_KEY", value_name = "FILE", value_parser = parse::path)]
    jwt_public_key: Option<PathBuf>,

    /// Public keys with names (JWKS), a file or an https URL
    #[arg(long, env = "JWT_JWKS", value_name = "FILE|URL", hide_env_values = true)]
    #[arg(value_parser = jwks)]
    jwt_jwks: Option<JwksSource>,

    /// Authorities for the URL of the JWKS, a PEM file [default: the public ones, built in]
    #[arg(long, env = "JWT_JWKS_CA", value_name = "FILE", value_parser = parse::path)]
    jwt_jwks_ca: Option<PathBuf>,

    /// API keys of services, a TOML file
    #[arg(long, env = "API_KEYS_FILE", value_name = "FILE", value_parser = parse::path)]
    api_keys_file: Option<PathBuf>,

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

    /// The claim with the role or a list of roles; with dots it may be a path
    #[arg(long, env = "JWT_ROLE_CLAIM", value_name = "CLAIM")]
    #[arg(default_value = "role", value_parser = claim)]
    jwt_role_claim: String,

    /// What the back end calls the roles, like COURIER=driver,AGENT=support
    #[arg(long, env = "JWT_ROLE_MAP", value_name = "MAP", value_parser = str::parse::<RoleMap>)]
    jwt_role_map: Option<RoleMap>,

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

/// A file, or an address that an attacker on the network cannot alter.
fn jwks(text: &str) -> Result<JwksSource, String> {
    let allowed =
        || "a file, an https URL, or an http URL on loopback, without user or password".to_owned();
    let Some((scheme, _)) = text.split_once("://") else {
        return parse::path(text).map(JwksSource::File).map_err(|_| allowed());
    };
    let uri: ::http::Uri = text.parse().map_err(|_| allowed())?;
    let authority = uri.authority().ok_or_else(allowed)?;
    let host = authority.host().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let is_safe = scheme == "https" || (scheme == "http" && is_local);
    let good = is_safe && !host.is_empty() && !authority.as_str().contains('@');
    good.then(|| JwksSource::Url(text.to_owned())).ok_or_else(allowed)
}

impl AuthArgs {
    pub(super) fn resolve(
        self,
        server: &ServerConfig,
        matches: &ArgMatches,
    ) -> Result<AuthConfig, ConfigError> {
        let secret = |variable, value, file| {
            let given = secret::value_or_file(matches, variable, value, file)?;
            given.map(|(variable, text)| long_enough(&variable, text)).transpose()
        };
        let (value, file) = (self.jwt_secret_previous, self.jwt_secret_previous_file);
        let (secret, previous_secret) = (
            secret("JWT_SECRET", self.jwt_secret, self.jwt_secret_file)?,
            secret("JWT_SECRET_PREVIOUS", value, file)?,
        );
        let public_key = self.jwt_public_key.as_deref().map(read_pem).transpose()?;
        // A previous secret without a current key is an incomplete rotation.
        let no_key = secret.is_none() && public_key.is_none() && self.jwt_jwks.is_none();
        if no_key && !server.is_local() && !server.demo {
            let problem = "the hub can be reached from other machines, so it must be set, at \
                 least 32 bytes (or JWT_SECRET_FILE, JWT_PUBLIC_KEY or JWT_JWKS)";
            return Err(ConfigError::new("JWT_SECRET", problem));
        }
        Ok(AuthConfig {
            secret,
            previous_secret,
            development_secret: no_key.then(|| server.data_dir.join("jwt-secret")),
            public_key,
            jwks: self.jwt_jwks,
            jwks_ca: self.jwt_jwks_ca,
            api_keys: self.api_keys_file,
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

/// Accepts a secret that is at least as long as its hash.
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
