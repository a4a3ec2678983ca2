//! The gateway: a namespace of Socket.IO, a room an order, positions passed on, chat stored and passed on.

mod auth;
mod chat;
mod events;

use std::env;
use std::net::Ipv4Addr;
use std::sync::Arc;

use socketioxide::SocketIo;
use socketioxide::handler::ConnectHandler as _;
use tracing_subscriber::EnvFilter;

use crate::events::App;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let port: u16 = env::var("PORT").unwrap_or_else(|_| "3000".to_owned()).parse()?;
    let auth = auth::Auth::new(&env::var("JWT_SECRET")?);
    let chat = chat::Chat::open(&env::var("DATABASE_URL")?).await?;

    let (layer, io) = SocketIo::builder().with_state(Arc::new(App::new(auth, chat))).build_layer();
    io.ns("/events", events::connected.with(events::authenticate));

    let app = axum::Router::new().layer(layer);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    tracing::info!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(stop()).await?;
    Ok(())
}

async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => std::future::pending().await,
    }
    // Connections are upgraded, so nothing would end them.
    std::process::exit(0);
}
