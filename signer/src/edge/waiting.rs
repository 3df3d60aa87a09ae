//! Follows one parked request for the caller that asked. Holds no rule.

use std::time::Duration;

use portcullis_policy::id::CallerId;
use portcullis_policy::record::{Choice, Matter};
use portcullis_policy::state::Progress;
use portcullis_proto::v1::{ParkedState, WatchRequestResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::places::Place;
use crate::clock;
use crate::refusal::Refusal;
use crate::sequencer::{Origin, Sequencer, Standing};

/// How one parked request is, again and again.
pub(super) type Waits = ReceiverStream<Result<WatchRequestResponse, Status>>;

/// Begins to follow a request, if it is this caller's.
pub(super) async fn begin(
    sequencer: Sequencer,
    caller: CallerId,
    matter: Matter,
    place: Place,
) -> Result<Waits, Refusal> {
    let first = sequencer.matter(matter.clone(), None).await?;
    if !first.waiting.is_request_of(&caller) {
        // Somebody else's is as if it were not there.
        return Err(Refusal::NotFound { kind: "parked request", name: matter.to_string() });
    }
    let (changes, stream) = mpsc::channel(CHANGES_AHEAD_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = follow(&sequencer, &matter, first, &changes, place) => {}
            () = changes.closed() => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

async fn follow(
    sequencer: &Sequencer,
    matter: &Matter,
    first: Standing,
    changes: &mpsc::Sender<Result<WatchRequestResponse, Status>>,
    _place: Place,
) {
    let mut moved = sequencer.matter_changes();
    let (mut standing, mut told) = (Some(first), None);
    loop {
        let now = standing.as_ref().map_or_else(ended, response);
        let state = now.state();
        if told.as_ref() != Some(&now) {
            if changes.send(Ok(now.clone())).await.is_err() {
                return;
            }
            told = Some(now);
        }
        let over =
            matches!(state, ParkedState::Signed | ParkedState::Rejected | ParkedState::Ended);
        if over {
            return;
        }
        tokio::select! {
            ended = moved.changed() => if ended.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // However many changes come, the writer is not asked more often.
        tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
        moved.borrow_and_update();
        standing = match sequencer.matter(matter.clone(), None).await {
            Ok(standing) => Some(standing),
            Err(Refusal::NotFound { .. }) => None,
            Err(refusal) => return drop(changes.send(Err(refusal.into())).await),
        };
    }
}

fn ended() -> WatchRequestResponse {
    WatchRequestResponse { state: ParkedState::Ended.into(), ..WatchRequestResponse::default() }
}

fn response(standing: &Standing) -> WatchRequestResponse {
    let Standing { waiting, outlook, .. } = standing;
    let state = match outlook.progress {
        Progress::Waiting if expires_soon(standing) => ParkedState::Expiring,
        Progress::Waiting => ParkedState::Waiting,
        Progress::Ready => ParkedState::Ready,
        Progress::Refused => ParkedState::Refused,
        Progress::Signed => ParkedState::Signed,
        Progress::Rejected => ParkedState::Rejected,
        Progress::Expired => ParkedState::Ended,
    };
    let votes = waiting.votes.iter().zip(&outlook.counts);
    let approvals = votes.filter(|(cast, counts)| **counts && cast.choice == Choice::Approve);
    WatchRequestResponse {
        state: state.into(),
        missing: outlook.takes.clone(),
        approvals: u32::try_from(approvals.count()).unwrap_or(u32::MAX),
        votes_until_ms: waiting.expires.0,
        signed_until_ms: waiting.execute_until.0,
    }
}

/// Whether nine tenths of its time are over. The wall clock will do: this is a hint.
fn expires_soon(standing: &Standing) -> bool {
    let Origin::Parked { parked_at, .. } = &standing.waiting.origin else { return false };
    let (begun, ends) = (parked_at.0, standing.waiting.expires.0);
    let last = ends.saturating_sub(ends.saturating_sub(begun) / 10);
    clock::wall().0 >= last
}

/// Changes sent before the caller has taken the one before.
const CHANGES_AHEAD_MAX: usize = 4;

/// Without any record, it is looked at this often: it expires, and votes ripen.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// And not more often than this.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(100);
