//! One connection before all others: whether a hub is there and takes the tokens.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::address::{self, Target};
use super::hear::{Heard, hear};
use super::{say, wire};
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
    let silent = |error| format!("{url}: the hub does not answer: {error}");
    let mut bytes = exchange(&mut stream, target.upgrade(token).as_bytes()).map_err(silent)?;
    let answer = address::answer(&bytes);
    match answer.map(|answer| answer.status) {
        Some(101) if target.framing == Framing::Plain => Ok(()),
        Some(101) => {
            bytes.drain(..answer.map_or(0, |answer| answer.length));
            let entered = enter(&mut stream, bytes, token).map_err(silent)?;
            if entered { Ok(()) } else { Err(refused(url, "CONNECT_ERROR")) }
        }
        Some(401) => Err(refused(url, "401")),
        Some(503) => Err(format!("{url}: the hub is full or draining (503)")),
        Some(404) => Err(format!("{url}: there is no orderhub (404)")),
        Some(0) | None => Err(format!("{url}: what answers there is no HTTP server")),
        Some(status) => Err(format!("{url}: the hub refuses the connection ({status})")),
    }
}

fn refused(url: &str, how: &str) -> String {
    format!(
        "{url}: the hub does not take the token ({how}): is it the hub's secret (--secret, \
         JWT_SECRET), and are issuer and audience the same?"
    )
}

/// Enters the namespace of Socket.IO; says whether the hub lets the token in.
fn enter(stream: &mut TcpStream, mut bytes: Vec<u8>, token: &str) -> io::Result<bool> {
    let mut packet = Vec::new();
    wire::write(&mut packet, wire::TEXT, say::enter(token).as_bytes(), 0);
    stream.write_all(&packet)?;
    let mut chunk = [0; 4096];
    loop {
        while let Some((frame, length)) = wire::read(&bytes).map_err(io::Error::other)? {
            let text = std::str::from_utf8(frame.payload).unwrap_or_default();
            match hear(Framing::SocketIo, text) {
                Heard::Opened => return Ok(true),
                Heard::Refused | Heard::Dismissed => return Ok(false),
                _ if frame.opcode == wire::CLOSE => return Ok(false),
                _ => {}
            }
            bytes.drain(..length);
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(&chunk[..length]),
        }
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
