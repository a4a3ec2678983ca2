//! A proxy that speaks TLS before a hub that does not, as it stands before most of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tls;

/// From one look at a side to the next at the other.
const TURN: Duration = Duration::from_millis(2);

/// Starts one, which runs as long as the test.
pub fn start(hub: SocketAddr) -> SocketAddr {
    let config = tls::server();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || pass(stream, hub, config));
        }
    });
    addr
}

/// Passes bytes on in both directions until one side is gone.
fn pass(client: TcpStream, hub: SocketAddr, config: Arc<ServerConfig>) {
    let mut hub = TcpStream::connect(hub).expect("a hub");
    hub.set_read_timeout(Some(TURN)).expect("a timeout");
    client.set_read_timeout(Some(TURN)).expect("a timeout");
    let tls = ServerConnection::new(config).expect("TLS");
    let mut client = StreamOwned::new(tls, client);
    while hand_over(&mut client, &mut hub) && hand_over(&mut hub, &mut client) {}
}

/// Hands over what is there; false where a side is gone.
fn hand_over(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut buffer = [0; 16 * 1024];
    match from.read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_ok(),
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}
