//! An address behind which the server changes, as at a failover.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use super::postgres_server::PostgresServer;

/// An address that leads to one server, and after [`Self::lead_to`] new connections to another.
pub struct Address {
    port: u16,
    server: Arc<AtomicU16>,
    cuts: broadcast::Sender<()>,
}

impl Address {
    pub async fn of(server: &PostgresServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Arc::new(AtomicU16::new(server.port()));
        let current = Arc::clone(&server);
        let cuts = broadcast::Sender::new(1);
        let cut = cuts.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let server = current.load(Ordering::Relaxed);
                let mut cut = cut.subscribe();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.recv() => {
                            drop(client);
                            std::future::pending::<()>().await;
                        }
                    }
                });
            }
        });
        Self { port, server, cuts }
    }

    /// Where the hub's database is behind it.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/hub", self.port)
    }

    /// Cuts every connection, as a firewall does that has lost its memory: the server hears nothing of
    /// it and keeps the sessions.
    pub fn cut(&self) {
        self.cuts.send(()).expect("connections");
    }

    pub fn lead_to(&self, server: &PostgresServer) {
        self.server.store(server.port(), Ordering::Relaxed);
    }
}
