//! One socket of a client, with input that is not complete and output that is not sent.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use socket2::{Domain, Protocol, Socket, Type};

use super::address::HubTarget;
use super::frame;

/// A connection, from its first SYN.
#[derive(Debug)]
pub struct HubConnection {
    stream: mio::net::TcpStream,
    /// The TLS connection, if the hub uses TLS.
    tls: Option<Box<ClientConnection>>,
    /// Bytes that were read and end in the middle of a frame.
    pub rest: Vec<u8>,
    /// The parts of a fragmented message.
    pub fragments: Vec<u8>,
    /// Bytes that the socket has not taken yet.
    out: Vec<u8>,
}

impl HubConnection {
    /// Starts connection `number` of a run. `receive_buffer` keeps the kernel from reading ahead
    /// for a slow reader.
    ///
    /// # Errors
    /// If the system has no more sockets or ports.
    pub fn open(
        target: &HubTarget,
        registry: &Registry,
        number: usize,
        receive_buffer: Option<usize>,
    ) -> io::Result<Self> {
        let address = target.address();
        let tls = target.tls.as_ref().map(|trust| trust.begin().map(Box::new)).transpose()?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = source(address, number) {
            socket.bind(&source.into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if is_under_way(&error) => {}
            Err(error) => return Err(error),
        }
        let mut stream = mio::net::TcpStream::from_std(socket.into());
        registry.register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, tls, rest: Vec::new(), fragments: Vec::new(), out: Vec::new() })
    }

    /// Whether the connection is established; false while it is pending.
    ///
    /// # Errors
    /// Why it cannot be established.
    pub fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        Ok(self.stream.peer_addr().is_ok())
    }

    /// Writes bytes, or keeps them until the socket takes them. Returns how many they were.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<u64> {
        self.out.extend_from_slice(bytes);
        self.flush()?;
        Ok(bytes.len() as u64)
    }

    /// Writes a message.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn message(&mut self, opcode: u8, payload: &[u8], mask: u32) -> io::Result<u64> {
        let before = self.out.len();
        frame::write(&mut self.out, opcode, payload, mask);
        let length = (self.out.len() - before) as u64;
        self.flush()?;
        Ok(length)
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = self.tls.as_deref_mut() else {
            return drain(&mut self.stream, &mut self.out);
        };
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if is_under_way(&error) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            // Encrypts only what the socket takes, so that the waiting bytes can be counted and
            // bounded.
            if self.out.is_empty() {
                return Ok(());
            }
            tls.writer().write_all(&self.out)?;
            self.out.clear();
        }
    }

    /// Reads available bytes: none if there are none yet, 0 at the end.
    ///
    /// # Errors
    /// If the connection is lost, or the input is not TLS.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let read = match self.tls.as_deref_mut() {
                None => self.stream.read(buffer),
                Some(tls) => match tls.reader().read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.decrypt(),
                    read => return read.map(Some),
                },
            };
            match read {
                Ok(0) => return Ok(Some(0)),
                Ok(length) if self.tls.is_none() => return Ok(Some(length)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether there may be more to read after a read of `length` bytes into `room` bytes. A socket
    /// that gives fewer bytes is empty; a TLS record is not.
    pub fn may_hold_more(&self, length: usize, room: usize) -> bool {
        length == room || self.tls.is_some()
    }

    /// Reads TLS records from the socket, and writes the answers that TLS requires.
    fn decrypt(&mut self) -> io::Result<usize> {
        let Some(tls) = self.tls.as_deref_mut() else { return Ok(0) };
        let length = tls.read_tls(&mut self.stream)?;
        let taken = tls.process_new_packets();
        // The other side must be told the TLS error as well. If that fails, the next read finds the
        // end of the connection, after anything that was sent before it.
        let _ = self.flush();
        taken.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(length)
    }

    /// How many bytes wait to be written.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }
}

/// Writes what the socket takes, and keeps the rest.
fn drain(stream: &mut mio::net::TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    let mut written = 0;
    let result = loop {
        if written == out.len() {
            break Ok(());
        }
        match stream.write(&out[written..]) {
            Ok(0) => break Err(ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_under_way(&error) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    out.drain(..written);
    result
}

/// Connections to one hub from one address. Linux assigns half of its ports (14,000) quickly, and
/// then searches through all of them for each further one; beyond 28,000 there are none.
const PER_SOURCE: usize = 10_000;

/// The source address of a connection, if it can be chosen: on Linux, all of 127.0.0.0/8 is this
/// machine.
fn source(hub: SocketAddr, number: usize) -> Option<SocketAddr> {
    let SocketAddr::V4(hub) = hub else { return None };
    let block = u8::try_from(number / PER_SOURCE).ok().filter(|block| *block > 0)?;
    // Other systems than Linux have only 127.0.0.1.
    let ours = cfg!(target_os = "linux") && hub.ip().is_loopback();
    ours.then(|| (Ipv4Addr::new(127, 0, 1, block), 0).into())
}

/// Whether a connection or a write is still in progress. The system has no error kind for the
/// first.
fn is_under_way(error: &io::Error) -> bool {
    const EINPROGRESS: i32 = if cfg!(target_os = "linux") { 115 } else { 36 };
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
        || error.raw_os_error() == Some(EINPROGRESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_many_connections_come_from_several_addresses() {
        let hub = |text: &str| text.parse().expect("an address");
        let of = |number| source(hub("127.0.0.1:80"), number).map(|source| source.to_string());
        assert_eq!(of(PER_SOURCE - 1), None);
        if cfg!(target_os = "linux") {
            assert_eq!(of(PER_SOURCE), Some("127.0.1.1:0".to_owned()));
            assert_eq!(of(25_000), Some("127.0.1.2:0".to_owned()));
        }
        assert_eq!(source(hub("10.0.0.7:80"), 25_000), None);
        assert_eq!(source(hub("[::1]:80"), 25_000), None);
    }
}
