//! Who somebody is: the claims of a token.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// The claims of a token.
#[derive(Debug, Deserialize)]
pub struct User {
    pub sub: String,
    pub name: Option<String>,
    pub role: Option<String>,
    #[serde(default)]
    pub orders: Vec<String>,
}

impl User {
    /// The order must be one of the token's, as with orderhub.
    pub fn may_join(&self, order_id: &str) -> bool {
        self.orders.iter().any(|order| order == order_id)
    }
}

/// Checks tokens.
pub struct Auth {
    key: DecodingKey,
    validation: Validation,
}

impl Auth {
    pub fn new(secret: &str) -> Self {
        let key = DecodingKey::from_secret(secret.as_bytes());
        Self { key, validation: Validation::new(Algorithm::HS256) }
    }

    pub fn check(&self, token: &str) -> Result<User, jsonwebtoken::errors::Error> {
        Ok(jsonwebtoken::decode::<User>(token, &self.key, &self.validation)?.claims)
    }
}
