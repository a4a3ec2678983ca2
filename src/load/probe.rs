//! One connection before all others: whether a hub is there and takes the tokens.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::address::{self, Target};
use crate::protocol::codec::Framing;

/// How long the hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens a WebSocket with this token, and closes it.
///
/// # Errors
/// A sentence that says what is wrong: nobody there, the wrong secret, no orderhub.
pub fn ask(target: &Target, token: &str) -> Result<(), String> {
    let url = &target.url;
    let mut stream = TcpStream::connect_timeout(&target.address, PATIENCE)
        .map_err(|error| format!("{url}: the hub cannot be reached: {error}"))?;
    // The token stands in the head on Socket.IO as well, or nothing would be said about it yet.
    let request = Target { framing: Framing::Plain, ..target.clone() }.upgrade(token);
    let request = match target.framing {
        Framing::Plain => request,
        Framing::SocketIo => request.replacen("/ws", "/socket.io/?EIO=4&transport=websocket", 1),
    };
    let head = exchange(&mut stream, request.as_bytes())
        .map_err(|error| format!("{url}: the hub does not answer: {error}"))?;
    let status = address::answer(&head).map(|answer| answer.status);
    match status {
        Some(101) => Ok(()),
        Some(401) => Err(format!(
            "{url}: the hub does not take the token (401): is it the hub's secret (--secret, \
             JWT_SECRET), and are issuer and audience the same?"
        )),
        Some(503) => Err(format!("{url}: the hub is full or draining (503)")),
        Some(404) => Err(format!("{url}: there is no orderhub (404)")),
        Some(0) | None => Err(format!("{url}: what answers there is no HTTP server")),
        Some(status) => Err(format!("{url}: the hub refuses the connection ({status})")),
    }
}

/// Sends the request, and reads until the head of the answer is whole or the hub has closed.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    while address::answer(&head).is_none() && head.len() < 64 * 1024 {
        match stream.read(&mut chunk)? {
            0 => break,
            length => head.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(head)
}
