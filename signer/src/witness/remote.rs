//! Asks a witness elsewhere for its cosignature. The one file in which the signing process opens a
//! connection.
//!
//! Nothing that comes back is believed but a cosignature that verifies; sizes are only hints.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::Scheme;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis_policy::note::{Note, NoteFault, NoteSignature, Witness};
use portcullis_policy::submission::Submission;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A witness, where it is and whose it is.
#[derive(Clone, Debug)]
pub struct Remote {
    host: String,
    port: u16,
    path: String,
    witness: Witness,
}

/// What it says.
#[derive(Debug)]
pub enum Answer {
    /// It cosigned: the note with the cosignatures, which verify, and the newest one's time.
    Cosigned {
        /// As it is to be kept.
        note: Note,
        /// Seconds since 1970.
        seconds: u64,
    },
    /// It cosigned a checkpoint of so many records before.
    Other(u64),
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

impl Remote {
    /// From `http://host:port` and the witness's key. `None`: it is something else.
    pub fn new(url: &str, key: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_plain = uri.scheme() == Some(&Scheme::HTTP) && uri.query().is_none();
        let authority = uri.authority().filter(|one| is_plain && !one.as_str().contains('@'))?;
        let path = format!("{}/add-checkpoint", uri.path().trim_end_matches('/'));
        let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
        Some(Self { host, port, path, witness: Witness::parse(key).ok()? })
    }

    /// Hands over a checkpoint. Never takes longer than its deadline.
    ///
    /// # Errors
    ///
    /// [`Unanswered`].
    pub async fn submit(&self, submission: &Submission) -> Result<Answer, Unanswered> {
        let asked = timeout(DEADLINE, self.ask(submission.to_string())).await;
        let (status, text) = asked.map_err(|_| Unanswered::Late)??;
        match status {
            StatusCode::OK => self.verified(&submission.note, &text),
            StatusCode::CONFLICT => match text.trim_end().parse() {
                Ok(size) => Ok(Answer::Other(size)),
                Err(_) => Err(Unanswered::Fault(NoteFault::Note)),
            },
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::Inconsistent),
            status => {
                let line = text.lines().next().unwrap_or_default();
                let why = line.chars().filter(|one| !one.is_control()).take(WHY_CHARS_MAX);
                Err(Unanswered::Refused { status, why: why.collect() })
            }
        }
    }

    async fn ask(&self, body: String) -> Result<(StatusCode, String), Unanswered> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((host, self.port)).await.map_err(Unanswered::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let request = Request::post(&self.path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(CONTENT_LENGTH, body.len())
            .body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let bytes = body.map_err(|_| Unanswered::Body)?.to_bytes();
            Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
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

    /// The note with the witness's own cosignatures, and none of anybody else.
    fn verified(&self, note: &Note, lines: &str) -> Result<Answer, Unanswered> {
        let own = |one: &NoteSignature| one.name == self.witness.name();
        let mut note = note.clone();
        note.signatures.retain(|one| !own(one));
        for line in lines.lines().take(LINES_MAX) {
            let one = NoteSignature::parse(line)?;
            // More than the newest one would fill the place where the note is kept.
            let alone = Note { text: note.text.clone(), signatures: vec![one] };
            if let Ok(seconds) = self.witness.check(&alone) {
                note.signatures.extend(alone.signatures);
                return Ok(Answer::Cosigned { note, seconds });
            }
        }
        Err(NoteFault::Unsigned(self.witness.name().to_owned()).into())
    }
}

/// From the connection to the last byte. Nobody waits for it but the next checkpoint.
const DEADLINE: Duration = Duration::from_secs(5);

/// More than a few cosignatures.
const ANSWER_BYTES_MAX: usize = 16 * 1_024;

/// Cosignatures that are looked at.
const LINES_MAX: usize = 16;

/// Of what a witness says when it refuses.
const WHY_CHARS_MAX: usize = 200;
