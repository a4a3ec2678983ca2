//! `orderhub webhook test NAME`: sends one signed webhook to an endpoint of `WEBHOOKS_FILE`, and
//! prints the answer. It needs no running hub and no database.

use std::time::Instant;

use clap::{Args, ValueEnum};

use super::{CliError, output};
use crate::actors::webhooks::WebhookFile;
use crate::actors::webhooks::client::WebhookClient;
use crate::config::{Config, ConfigError};
use crate::webhooks::payload;
use protocol::time::Timestamp;

/// The `type` of the webhook.
const KIND: &str = "webhook.test";
/// How much of an answer is printed, in characters.
const SHOWN: usize = 1000;

#[derive(Args)]
pub(super) struct WebhookArgs {
    /// Send webhook.test to the endpoint
    action: Action,
    /// The endpoint's name in the file of endpoints
    name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    Test,
}

pub(super) fn run(config: &Config, args: &WebhookArgs) -> Result<(), CliError> {
    let WebhookArgs { action: Action::Test, name } = args;
    let Some(file) = WebhookFile::open(&config.webhooks)? else {
        return Err(ConfigError::new("WEBHOOKS_FILE", "it must name the file of endpoints").into());
    };
    let Some(endpoint) = file.endpoints.find(name) else {
        let names: Vec<&str> = file.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
        let problem =
            format!("{} has no {name:?}, it has: {}", file.source.name(), names.join(", "));
        return Err(ConfigError::new("WEBHOOKS_FILE", problem).into());
    };
    let failed = |problem: String| CliError::Failed(format!("{}: {problem}", endpoint.shown_url()));
    let client = WebhookClient::new(std::sync::Arc::clone(endpoint), 1)
        .map_err(|error| failed(error.to_string()))?;
    let now = Timestamp::now();
    let data = serde_json::json!({ "endpoint": name, "at": now }).to_string();
    let body = payload::body(KIND, now, &data).map_err(|error| failed(error.to_string()))?;
    let (id, begun) = (uuid::Uuid::now_v7().to_string(), Instant::now());
    let answer = actix_rt::System::new().block_on(client.post(&id, body)).map_err(failed)?;
    let said = String::from_utf8_lossy(&answer.body);
    let said: String = said.chars().take(SHOWN).collect();
    let ms = begun.elapsed().as_millis();
    output(&format!("{id}: {} in {ms} ms\n{}\n", answer.status, said.trim_end()))?;
    answer.judge().map_err(|failure| failed(failure.reason))
}
