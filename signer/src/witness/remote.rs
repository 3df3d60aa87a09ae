//! Asks a witness elsewhere for its cosignature. The one file in which the signing process opens a
//! connection.
//!
//! Nothing that comes back is believed but a cosignature that verifies; sizes are only hints.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Builder;
use http::uri::Scheme;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis_policy::note::{Note, NoteFault, NoteSignature, Witness};
use portcullis_policy::request::sha256;
use portcullis_policy::submission::Submission;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::KEPT;

/// A witness, where it is and whose it is.
#[derive(Clone, Debug)]
pub struct Remote {
    host: String,
    port: u16,
    prefix: String,
    witness: Witness,
}

/// What it says. Nobody signs any of it but a cosignature.
#[derive(Debug)]
pub enum Answer {
    /// It cosigned: the note with the cosignatures, which verify, and the newest one's time.
    Cosigned {
        /// As it is to be kept.
        note: Note,
        /// Seconds since 1970.
        seconds: u64,
    },
    /// It cosigned a checkpoint of so many records before; `None`: it does not say of how many.
    Other(Option<u64>),
    /// What it cosigned before is no beginning of our journal.
    Inconsistent,
}

/// No cosignature, and nothing learnt.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Connect(#[source] std::io::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("it does not speak HTTP as it should")]
    Http(#[from] hyper::Error),
    /// The request cannot be made.
    #[error("its address cannot be asked for")]
    Request(#[from] http::Error),
    /// It says too much.
    #[error("its answer breaks off, or is longer than {ANSWER_BYTES_MAX} bytes")]
    Body,
    /// It hangs.
    #[error("it does not answer within {} seconds", DEADLINE.as_secs())]
    Late,
    /// It would not.
    #[error("it refuses ({status}): {why}")]
    Refused {
        /// Of HTTP.
        status: StatusCode,
        /// The first line of what it says.
        why: String,
    },
    /// It lies, or is another one.
    #[error("its answer does not count")]
    Fault(#[from] NoteFault),
}

/// What came back.
struct Said {
    status: StatusCode,
    kind: Option<HeaderValue>,
    text: String,
}

impl Remote {
    /// From `http://host:port` and the witness's key. `None`: it is something else, or is named
    /// like a journal, with whose signature its own could be mistaken.
    pub fn new(url: &str, key: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_plain = uri.scheme() == Some(&Scheme::HTTP) && uri.query().is_none();
        let authority = uri.authority().filter(|one| is_plain && !one.as_str().contains('@'))?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
        let witness = Witness::parse(key).ok()?;
        let name = witness.name();
        let is_its_own = name.len() <= NAME_BYTES_MAX && !name.starts_with(JOURNALS);
        is_its_own.then_some(Self { host, port, prefix, witness })
    }

    /// Whose cosignatures count.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Hands over a checkpoint. Never takes longer than its deadline.
    ///
    /// # Errors
    ///
    /// [`Unanswered`].
    pub async fn submit(&self, submission: &Submission) -> Result<Answer, Unanswered> {
        let body = submission.to_string();
        let request = Request::post(format!("{}/add-checkpoint", self.prefix))
            .header(CONTENT_LENGTH, body.len());
        let said = self.ask(request, body).await?;
        match said.status {
            StatusCode::OK => self.verified(&submission.note, &said.text),
            StatusCode::CONFLICT => Ok(Answer::Other(said.size())),
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::Inconsistent),
            _ => Err(said.refused()),
        }
    }

    /// The newest checkpoint that it cosigned of a journal, if it is a witness of ours: others need
    /// not show it. Verified by nobody yet.
    ///
    /// # Errors
    ///
    /// [`Unanswered`].
    pub async fn kept(&self, origin: &str) -> Result<Note, Unanswered> {
        let hash = hex::encode(sha256(origin.as_bytes()));
        let request = Request::get(format!("{}{KEPT}{hash}", self.prefix));
        let said = self.ask(request, String::new()).await?;
        if said.status != StatusCode::OK {
            return Err(said.refused());
        }
        Ok(Note::parse(&said.text)?)
    }

    async fn ask(&self, request: Builder, body: String) -> Result<Said, Unanswered> {
        let asked = timeout(DEADLINE, self.converse(request, body)).await;
        asked.map_err(|_| Unanswered::Late)?
    }

    async fn converse(&self, request: Builder, body: String) -> Result<Said, Unanswered> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((host, self.port)).await.map_err(Unanswered::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let request = request
            .header(HOST, format!("{}:{}", self.host, self.port))
            .body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let kind = response.headers().get(CONTENT_TYPE).cloned();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let bytes = body.map_err(|_| Unanswered::Body)?.to_bytes();
            Ok(Said { status, kind, text: String::from_utf8_lossy(&bytes).into_owned() })
        };
        // The connection is driven here and nowhere else, so that it ends with the deadline.
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            ended = &mut connection => ended?,
        }
        answer.await
    }

    /// The note with the witness's own newest cosignature, and what others made of it.
    fn verified(&self, note: &Note, lines: &str) -> Result<Answer, Unanswered> {
        for line in lines.lines().take(LINES_MAX) {
            let one = NoteSignature::parse(line)?;
            // More than the newest one would fill the place where the note is kept.
            let alone = Note { text: note.text.clone(), signatures: vec![one] };
            if let Ok(seconds) = self.witness.check(&alone) {
                let mut note = note.clone();
                // By name and key: whoever else has the name keeps theirs.
                let is_old = |one: &NoteSignature| {
                    alone.signatures.iter().any(|new| (&new.name, new.id) == (&one.name, one.id))
                };
                note.signatures.retain(|one| !is_old(one));
                note.signatures.extend(alone.signatures);
                return Ok(Answer::Cosigned { note, seconds });
            }
        }
        Err(NoteFault::Unsigned(self.witness.name().to_owned()).into())
    }
}

impl Said {
    /// A number and nothing else, said to be one (c2sp.org/tlog-witness).
    fn size(&self) -> Option<u64> {
        let digits = self.text.strip_suffix('\n').unwrap_or(&self.text);
        let is_size = self.kind.as_ref().is_some_and(|kind| kind.as_bytes() == SIZE);
        let is_number = digits.bytes().all(|one| one.is_ascii_digit());
        digits.parse().ok().filter(|_| is_size && is_number)
    }

    fn refused(&self) -> Unanswered {
        let line = self.text.lines().next().unwrap_or_default();
        let why = line.chars().filter(|one| !one.is_control()).take(WHY_CHARS_MAX);
        Unanswered::Refused { status: self.status, why: why.collect() }
    }
}

/// From the connection to the last byte. Nobody waits for it but the next checkpoint.
const DEADLINE: Duration = Duration::from_secs(5);

/// More than a few cosignatures.
const ANSWER_BYTES_MAX: usize = 16 * 1_024;

/// The kind of a body that is a size.
const SIZE: &[u8] = b"text/x.tlog.size";

/// A witness's name stands in each note, for which there is not much room.
const NAME_BYTES_MAX: usize = 255;

/// How journals are named.
const JOURNALS: &str = "portcullis/";

/// Cosignatures that are looked at.
const LINES_MAX: usize = 16;

/// Of what a witness says when it refuses.
const WHY_CHARS_MAX: usize = 200;
