//! How a verb can end, and which exit code says so.

use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_client::{
    CallError, Code, ConnectError, Refusal, SignError, TransportError, Trouble, WaitError,
};

use portcullis_policy::examples::BadExamples;

use crate::approvals::ssh::SshFault;
use crate::approvals::statement::StatementFault;
use crate::approvals::{AwaitFault, VoteFault};
use crate::audit::checked::CheckFault;
use crate::audit::checkpoint::CheckpointFault;
use crate::audit::cursor::CursorFault;
use crate::audit::export::ExportFault;
use crate::audit::receipt::BadReceipt;
use crate::audit::reconcile::ReconcileFault;
use crate::audit::report::ReportFault;
use crate::audit::verify::VerifyFault;
use crate::audit::witnesses::WitnessFault;
use crate::clock::ClockFault;
use crate::connection::ConnectionFault;
use crate::drain::DrainFault;
use crate::drill::DrillFault;
use crate::key::{BookEditFault, ImpactFault, RotateFault};
use crate::people::PeopleFault;
use crate::policy::{ExplainFault, FaultyBook};
use crate::sign::SignFault;
use crate::stop_order::StopOrderFault;
use crate::thaw::ThawFault;

/// Exit codes: stable, for scripts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// It was done.
    Done,
    /// It failed, in no way named below.
    Failure,
    /// The command line was not understood.
    Usage,
    /// Policy, a stop or a quorum stands against it.
    Denied,
    /// It waits for people.
    Parked,
    /// We are not known, or may not do this.
    NotAuthorised,
    /// The signer is away, overloaded or throttling.
    Unavailable,
    /// Something does not verify: a reply, or a file.
    Unverified,
    /// A journal explains itself, and nobody attests all of it.
    Unattested,
    /// Too few witnesses stand for a checkpoint.
    Unwitnessed,
    /// Not all decisions of a journal could be made again: inputs were left out.
    NotRepeated,
    /// A journal is not in its form.
    WrongForm,
    /// A journal is not the one that was signed.
    WrongTree,
    /// People of a journal did not sign what is said to be theirs, or might not do it.
    WrongPeople,
    /// A journal's decisions come out otherwise when they are made again.
    WrongReplay,
    /// A key was used outside the signer.
    UsedOutside,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Denied => 3,
            Exit::Parked => 4,
            Exit::NotAuthorised => 5,
            Exit::Unavailable => 6,
            Exit::Unverified => 7,
            Exit::Unwitnessed => 15,
            Exit::Unattested => 9,
            Exit::NotRepeated => 10,
            Exit::WrongForm => 11,
            Exit::WrongTree => 12,
            Exit::WrongPeople => 13,
            Exit::WrongReplay => 14,
            Exit::UsedOutside => 8,
        })
    }
}

/// Why a verb ended without doing its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No time to accept.
    #[error(transparent)]
    Clock(#[from] ClockFault),
    /// Where to connect is not known.
    #[error(transparent)]
    Connection(#[from] ConnectionFault),
    /// A book that has faults, where one without is needed.
    #[error(transparent)]
    Book(#[from] FaultyBook),
    /// Examples that cannot be run.
    #[error(transparent)]
    Examples(#[from] BadExamples),
    /// Nothing can be explained.
    #[error(transparent)]
    Explain(#[from] ExplainFault),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A control call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No signature.
    #[error(transparent)]
    Signing(#[from] SignError),
    /// Waiting for people ended without a signature.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// Nothing that could be asked for.
    #[error(transparent)]
    Sign(#[from] SignFault),
    /// A text that nobody should sign.
    #[error(transparent)]
    Statement(Box<StatementFault>),
    /// No signature by a person's key.
    #[error(transparent)]
    Ssh(Box<SshFault>),
    /// No vote.
    #[error(transparent)]
    Vote(Box<VoteFault>),
    /// Nothing that could be thawed.
    #[error(transparent)]
    Thaw(#[from] ThawFault),
    /// No stop order.
    #[error(transparent)]
    StopOrder(#[from] StopOrderFault),
    /// Nothing that could be done to people.
    #[error(transparent)]
    People(Box<PeopleFault>),
    /// Something that was to be sent has no JSON form.
    #[error("it has no JSON form")]
    Json(#[from] serde_json::Error),
    /// It does not go on from a cursor.
    #[error(transparent)]
    Cursor(#[from] CursorFault),
    /// A checkpoint that shows nothing.
    #[error(transparent)]
    Checkpoint(Box<CheckpointFault>),
    /// A receipt that shows nothing.
    #[error(transparent)]
    Receipt(Box<BadReceipt>),
    /// Nobody but the journal stands for it.
    #[error(transparent)]
    Witnesses(Box<WitnessFault>),
    /// The export was not made.
    #[error(transparent)]
    Export(#[from] ExportFault),
    /// The export was not verified.
    #[error(transparent)]
    Verify(#[from] VerifyFault),
    /// The export does not check.
    #[error(transparent)]
    Check(Box<CheckFault>),
    /// There is nothing to report.
    #[error(transparent)]
    Report(#[from] ReportFault),
    /// Nothing was reconciled.
    #[error(transparent)]
    Reconcile(Box<ReconcileFault>),
    /// A file named on the command line.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing was drained, or not all of it.
    #[error(transparent)]
    Drain(Box<DrainFault>),
    /// A drill that did not begin, or has no evidence.
    #[error(transparent)]
    Drill(Box<DrillFault>),
    /// Nothing could be told of what a key is used for.
    #[error(transparent)]
    Impact(Box<ImpactFault>),
    /// People did not agree.
    #[error(transparent)]
    Await(#[from] AwaitFault),
    /// A key cannot take another's place, or not yet.
    #[error(transparent)]
    Rotate(Box<RotateFault>),
    /// The book in force cannot be rewritten for a key that takes another's place.
    #[error(transparent)]
    BookEdit(#[from] BookEditFault),
    /// A file that cannot be written.
    #[error("{path} cannot be written: make room, or give another folder", path = path.display())]
    Write {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A result could not be printed.
    #[error("the result could not be written to standard output")]
    Print(#[from] std::io::Error),
}

/// Faults that name much are boxed: a result is moved at every step.
macro_rules! boxed {
    ($($name:ident($fault:ty)),+) => {
        $(impl From<$fault> for Failure {
            fn from(fault: $fault) -> Self {
                Self::$name(Box::new(fault))
            }
        })+
    };
}
boxed!(
    Check(CheckFault),
    Reconcile(ReconcileFault),
    Statement(StatementFault),
    Ssh(SshFault),
    Vote(VoteFault),
    People(PeopleFault),
    Drain(DrainFault),
    Drill(DrillFault),
    Impact(ImpactFault),
    Rotate(RotateFault),
    Checkpoint(CheckpointFault),
    Receipt(BadReceipt),
    Witnesses(WitnessFault)
);

impl Failure {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Connect(ConnectError::Unreachable(error))
            | Self::Call(CallError::Unreachable(error))
            | Self::Signing(SignError::Unreachable(error))
            | Self::Wait(WaitError::Sign(SignError::Unreachable(error))) => unreachable_exit(error),
            Self::Call(CallError::Refused(refusal))
            | Self::Signing(SignError::Refused(refusal))
            | Self::Wait(WaitError::Sign(SignError::Refused(refusal))) => refused_exit(refusal),
            Self::Signing(SignError::Untrusted(_))
            | Self::Wait(WaitError::Sign(SignError::Untrusted(_))) => Exit::Unverified,
            Self::Wait(WaitError::Rejected { .. } | WaitError::Ended { .. }) | Self::Await(_) => {
                Exit::Denied
            }
            Self::Statement(fault) => fault.exit(),
            Self::Ssh(fault) => fault.exit(),
            Self::People(fault) => fault.exit(),
            Self::Cursor(_) => Exit::Failure,
            Self::Checkpoint(fault) => fault.exit(),
            Self::Receipt(fault) => fault.exit(),
            Self::Witnesses(fault) => fault.exit(),
            Self::Export(fault) => fault.exit(),
            Self::Verify(fault) => fault.exit(),
            Self::Check(fault) => fault.exit(),
            Self::Report(fault) => fault.exit(),
            Self::Reconcile(fault) => fault.exit(),
            // Whoever reads us has had enough: `portctl audit tail | head`.
            Self::Print(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Connection(_)
            | Self::Connect(ConnectError::Config(_) | ConnectError::RequestIds(_))
            | Self::Call(CallError::Incomplete { .. })
            | Self::Sign(_)
            | Self::Vote(_)
            | Self::StopOrder(_)
            | Self::Clock(_)
            | Self::Thaw(_)
            | Self::Json(_)
            | Self::Book(_)
            | Self::Examples(_)
            | Self::Explain(_)
            | Self::Drain(_)
            | Self::Drill(_)
            | Self::Impact(_)
            | Self::Rotate(_)
            | Self::BookEdit(_)
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Print(_) => Exit::Failure,
        }
    }

    /// What to do next, where the signer's own words do not know this program.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self.refusal()?.reason()? {
            "BOOK_WIDENS" => Some("portctl policy propose FILE --reason TEXT"),
            _ => None,
        }
    }

    /// What the signer said, if it said no.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Call(CallError::Refused(refusal))
            | Self::Signing(SignError::Refused(refusal))
            | Self::Wait(WaitError::Sign(SignError::Refused(refusal))) => Some(refusal),
            Self::Connection(_)
            | Self::Connect(_)
            | Self::Call(_)
            | Self::Signing(_)
            | Self::Wait(_)
            | Self::Sign(_)
            | Self::Statement(_)
            | Self::Ssh(_)
            | Self::Vote(_)
            | Self::StopOrder(_)
            | Self::Clock(_)
            | Self::Thaw(_)
            | Self::People(_)
            | Self::Json(_)
            | Self::Cursor(_)
            | Self::Checkpoint(_)
            | Self::Witnesses(_)
            | Self::Receipt(_)
            | Self::Export(_)
            | Self::Verify(_)
            | Self::Check(_)
            | Self::Report(_)
            | Self::Reconcile(_)
            | Self::Book(_)
            | Self::Examples(_)
            | Self::Explain(_)
            | Self::Drain(_)
            | Self::Drill(_)
            | Self::Impact(_)
            | Self::Rotate(_)
            | Self::BookEdit(_)
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Await(_)
            | Self::Print(_) => None,
        }
    }
}

fn unreachable_exit(error: &TransportError) -> Exit {
    match error.trouble {
        Trouble::ServiceNotTrusted | Trouble::CertificateRefused => Exit::NotAuthorised,
        Trouble::NothingListens
        | Trouble::UnknownHost
        | Trouble::ConnectTimeout
        | Trouble::Deadline
        | Trouble::Tls
        | Trouble::ConnectionLost => Exit::Unavailable,
    }
}

/// A verdict is policy's; without one, a denial is about who asked.
fn refused_exit(refusal: &Refusal) -> Exit {
    if refusal.metadata().contains_key("verdict") {
        return Exit::Denied;
    }
    match refusal.code() {
        Code::FailedPrecondition | Code::Aborted => Exit::Denied,
        Code::Unauthenticated | Code::PermissionDenied => Exit::NotAuthorised,
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => Exit::Unavailable,
        Code::DataLoss => Exit::Unverified,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal => Exit::Failure,
    }
}
