//! As much HTTP/1.1 as a health check and a JSON-RPC call need: one request, one connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// No answer, or not one of HTTP.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed.
    #[error("the HTTP exchange with {address} failed")]
    Exchange {
        /// The peer.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer could not be understood.
    #[error("{address} did not answer in HTTP/1.1")]
    NotHttp {
        /// The peer.
        address: SocketAddr,
    },
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer, HttpError> {
    exchange(address, format!("GET {path} HTTP/1.1\r\n"), &[])
}

/// `POST path` with a JSON body.
pub fn post_json(address: SocketAddr, path: &str, body: &[u8]) -> Result<Answer, HttpError> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    exchange(address, head, body)
}

fn exchange(address: SocketAddr, head: String, body: &[u8]) -> Result<Answer, HttpError> {
    let request =
        [format!("{head}Host: {address}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat();
    let bytes =
        converse(address, &request).map_err(|source| HttpError::Exchange { address, source })?;
    parse(&bytes).ok_or(HttpError::NotHttp { address })
}

fn converse(address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
    let body = &bytes[end + 4..];
    let mut words = head.strip_prefix("http/1.1 ")?.split_whitespace();
    let status = words.next()?.parse().ok()?;
    let chunked = head.lines().any(|line| line == "transfer-encoding: chunked");
    let body = if chunked { join_chunks(body)? } else { body.to_vec() };
    Some(Answer { status, body })
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}
