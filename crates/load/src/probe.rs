//! One connection before all others. It finds out whether a hub is there, at which address, and
//! whether it accepts the tokens. An error is reported once here, and not by ten thousand
//! connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::StreamOwned;
use serde::Deserialize;

use super::address::{self, HubTarget};
use super::hub_message::{ConnectErrorData, HubMessage, SessionEndData, parse};
use super::{client_message, frame, tls};
use protocol::codec::Framing;

/// How long the hub may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes that are read of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A socket, or TLS over one.
trait ByteStream: Read + Write {}
impl<T: Read + Write> ByteStream for T {}

/// The answer of the hub, or of another server.
#[derive(Debug, PartialEq, Eq)]
enum ProbeOutcome {
    /// The session has begun.
    Welcome,
    /// The hub refuses this token, with its code.
    Refused(String),
    /// The server redirects to another address.
    Moved(String),
    /// It is another server, or cannot serve now.
    Other(String),
}

/// Begins a session with this token, and drops it. If the host has several addresses, the one that
/// answers stays in the target.
///
/// # Errors
/// A sentence that says what is wrong: no answer, the wrong secret, not an orderhub.
pub fn ask(target: &mut HubTarget, token: &str) -> Result<(), String> {
    let stream = connect(target)?;
    let url = &target.url;
    let greeting = secure(target, stream).and_then(|mut line| greet(target, &mut *line, token));
    match greeting.map_err(|error| format!("{url}: {}", silence(&error)))? {
        ProbeOutcome::Welcome => Ok(()),
        ProbeOutcome::Refused(code) => Err(format!("{url}: {}", refusal(&code))),
        ProbeOutcome::Moved(place) => {
            Err(format!("{url}: it sends on to {place}; name that address"))
        }
        ProbeOutcome::Other(what) => Err(format!("{url}: {what}")),
    }
}

/// Connects to the first address that answers.
fn connect(target: &mut HubTarget) -> Result<TcpStream, String> {
    let mut problems = Vec::new();
    for address in target.addresses.clone() {
        match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT) {
            Ok(stream) => {
                target.addresses = vec![address];
                return Ok(stream);
            }
            Err(error) => problems.push(unreachable(address, &error)),
        }
    }
    Err(format!("{}: the hub cannot be reached: {}", target.url, problems.join(", ")))
}

fn unreachable(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nobody listens at {address} (connection refused)")
        }
        ErrorKind::TimedOut => {
            format!("{address} did not answer within {} s", ANSWER_TIMEOUT.as_secs())
        }
        _ => format!("{address}: {error}"),
    }
}

/// What it means that no answer, or no complete one, came.
fn silence(error: &io::Error) -> String {
    if let Some(problem) = tls::problem(error) {
        return problem;
    }
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!(
                "something listens there, but it says nothing within {} s",
                ANSWER_TIMEOUT.as_secs()
            )
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "something listens there, but it hangs up at once".to_owned()
        }
        _ => format!("what answers there is no orderhub: {error}"),
    }
}

fn refusal(code: &str) -> String {
    if code == "token_expired" {
        return "the token has expired; make new ones, with a longer --ttl".to_owned();
    }
    format!(
        "the hub does not take the token ({code}): is it made with the hub's secret (--secret, \
         JWT_SECRET, or what --tokens was made with), and are issuer and audience the same?"
    )
}

fn secure(target: &HubTarget, stream: TcpStream) -> io::Result<Box<dyn ByteStream>> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let Some(trust) = &target.tls else { return Ok(Box::new(stream)) };
    Ok(Box::new(StreamOwned::new(trust.begin()?, stream)))
}

/// Requests the upgrade, and reads until the session has begun.
fn greet(target: &HubTarget, line: &mut dyn ByteStream, token: &str) -> io::Result<ProbeOutcome> {
    line.write_all(target.upgrade(token).as_bytes())?;
    let mut bytes = Vec::new();
    let answer = loop {
        if let Some(answer) = address::answer(&bytes) {
            break answer;
        }
        // A TLS alert, sent to a client that did not use TLS.
        if let &[0x15, 0x03, ..] = bytes.as_slice() {
            return Ok(ProbeOutcome::Other("TLS is spoken there; use wss://".to_owned()));
        }
        if bytes.len() > MAX_ANSWER_BYTES || !more(line, &mut bytes)? {
            return Ok(ProbeOutcome::Other("what answers there is no HTTP server".to_owned()));
        }
    };
    if answer.status == 101 {
        bytes.drain(..answer.length);
        return begin(target.framing, line, bytes, token);
    }
    let length = header(&bytes[..answer.length], "content-length").and_then(|it| it.parse().ok());
    let whole = answer.length.saturating_add(length.unwrap_or(0)).min(MAX_ANSWER_BYTES);
    // A missing body does not matter: the status decides.
    while bytes.len() < whole && more(line, &mut bytes).unwrap_or(false) {}
    let (head, body) = bytes.split_at(answer.length);
    Ok(judge(answer.status, head, body))
}

/// Reads what is available; false at the end.
fn more(line: &mut dyn ByteStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    let length = line.read(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..length]);
    Ok(length > 0)
}

/// The meaning of an answer that refuses the upgrade.
fn judge(status: u16, head: &[u8], body: &[u8]) -> ProbeOutcome {
    let problem = serde_json::from_slice::<Problem>(body).ok();
    match status {
        0 => ProbeOutcome::Other("what answers there is no HTTP server".to_owned()),
        401 => ProbeOutcome::Refused(problem.map_or_else(|| "401".to_owned(), |it| it.code)),
        300..=399 => match header(head, "location") {
            Some(place) => ProbeOutcome::Moved(place),
            None => ProbeOutcome::Other(format!("what answers there is no orderhub ({status})")),
        },
        503 if problem.is_some() => ProbeOutcome::Other(
            "the hub is full (MAX_CONNECTIONS) or draining, it takes nobody (503)".to_owned(),
        ),
        502..=504 => {
            ProbeOutcome::Other(format!("the proxy there has no hub behind it ({status})"))
        }
        _ => ProbeOutcome::Other(match problem {
            Some(problem) => format!("the hub refuses the connection ({status} {})", problem.code),
            None => format!("what answers there is no orderhub ({status})"),
        }),
    }
}

/// The `problem+json` of a hub.
#[derive(Deserialize)]
struct Problem {
    code: String,
}

/// A header of an answer, by its name in lower case.
fn header(head: &[u8], name: &str) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.trim().to_owned())
}

/// Reads until the session has begun; on Socket.IO enters the namespace first.
fn begin(
    framing: Framing,
    line: &mut dyn ByteStream,
    mut bytes: Vec<u8>,
    token: &str,
) -> io::Result<ProbeOutcome> {
    if framing == Framing::SocketIo {
        let mut packet = Vec::new();
        frame::write(&mut packet, frame::TEXT, client_message::enter(token).as_bytes(), 0);
        line.write_all(&packet)?;
    }
    let mut announced = None;
    loop {
        while let Some((frame, length)) = frame::read(&bytes).map_err(io::Error::other)? {
            let text = std::str::from_utf8(frame.payload).unwrap_or_default();
            match parse(framing, text) {
                HubMessage::Opened => return Ok(ProbeOutcome::Welcome),
                HubMessage::Refused(data) => return Ok(rejected(data)),
                HubMessage::Event(name, data) if name == "session:end" => {
                    announced =
                        serde_json::from_str::<SessionEndData>(data).ok().map(|end| end.code);
                }
                HubMessage::Dismissed => return Ok(ended(announced)),
                _ if frame.opcode == frame::CLOSE => return Ok(ended(announced)),
                _ => {}
            }
            bytes.drain(..length);
        }
        if bytes.len() > MAX_ANSWER_BYTES || !more(line, &mut bytes)? {
            return Ok(ended(announced));
        }
    }
}

fn rejected(data: &str) -> ProbeOutcome {
    match serde_json::from_str::<ConnectErrorData<'_>>(data) {
        Ok(ConnectErrorData { data: Some(refusal), .. }) => {
            ProbeOutcome::Refused(refusal.code.into_owned())
        }
        Ok(ConnectErrorData { message, .. }) => ProbeOutcome::Other(format!(
            "the Socket.IO server there has no /events as an orderhub has: {message}"
        )),
        Err(_) => ProbeOutcome::Other("what answers there is no orderhub".to_owned()),
    }
}

fn ended(announced: Option<u16>) -> ProbeOutcome {
    ProbeOutcome::Other(match announced {
        Some(code) => format!("the hub ends the session at once ({code})"),
        None => "a WebSocket is opened there, but no session begins: it is no orderhub".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_grants_nothing_says_what_to_do() {
        let head = b"HTTP/1.1 200 OK\r\nLocation: https://hub.example.com/ws\r\n\r\n";
        let expired = br#"{"type":"about:blank","code":"token_expired"}"#;
        let other = |text: &str| ProbeOutcome::Other(text.to_owned());
        for (status, body, expected) in [
            (401, &expired[..], ProbeOutcome::Refused("token_expired".to_owned())),
            (401, b"", ProbeOutcome::Refused("401".to_owned())),
            (301, b"", ProbeOutcome::Moved("https://hub.example.com/ws".to_owned())),
            (404, b"<html>", other("what answers there is no orderhub (404)")),
            (403, expired, other("the hub refuses the connection (403 token_expired)")),
            (502, b"", other("the proxy there has no hub behind it (502)")),
            (503, b"", other("the proxy there has no hub behind it (503)")),
        ] {
            assert_eq!(judge(status, head, body), expected);
        }
        assert!(
            matches!(judge(503, head, expired), ProbeOutcome::Other(text) if text.contains("full"))
        );
        assert!(refusal("token_expired").contains("--ttl") && refusal("401").contains("--secret"));
    }

    #[test]
    fn a_rejection_of_another_socket_io_server_differs_from_one_of_a_hub() {
        let hub = r#"{"message":"no","data":{"code":"unauthenticated"}}"#;
        assert_eq!(rejected(hub), ProbeOutcome::Refused("unauthenticated".to_owned()));
        let ProbeOutcome::Other(text) = rejected(r#"{"message":"Invalid namespace"}"#) else {
            panic!("another server")
        };
        assert!(text.contains("Invalid namespace"), "{text}");
    }
}
