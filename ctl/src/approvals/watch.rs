//! `approvals watch`: a line for each change, and the bell for what asks you.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_client::ControlClient;
use portcullis_client::wire::Approval;
use serde_json::json;

use crate::approvals::words;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Stays until it is ended. A stream that is lost is opened again, and what it tells once more is
/// not printed twice.
pub(crate) async fn run(connection: &ConnectionArgs, output: &Output) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let mut watch = Watch { known: BTreeMap::new(), output };
    let mut pause = PAUSE_FIRST;
    for lost in 0..=LOST_MAX {
        let before = watch.known.len();
        match watch.follow(&control).await {
            Ok(()) => return Ok(Exit::Done),
            Err(failure) if lost < LOST_MAX && failure.exit() == Exit::Unavailable => {
                output.note(&format!("{failure}; watching again in {pause:?}"));
            }
            Err(failure) => return Err(failure),
        }
        if watch.known.len() > before {
            pause = PAUSE_FIRST;
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
    Ok(Exit::Unavailable)
}

struct Watch<'a> {
    /// The last line printed of each.
    known: BTreeMap<String, String>,
    output: &'a Output,
}

impl Watch<'_> {
    async fn follow(&mut self, control: &ControlClient) -> Result<(), Failure> {
        let mut changes = control.watch_approvals().await?;
        while let Some(change) = changes.next().await? {
            if let Some(approval) = &change.approval {
                self.show(approval)?;
            }
        }
        Ok(())
    }

    fn show(&mut self, approval: &Approval) -> Result<(), Failure> {
        let asks = if approval.asks_you { "ASKS YOU" } else { "" };
        let line = format!(
            "{:<32}  {:<8}  {asks:<8}  {}; votes: {}",
            words::plain(&approval.id),
            words::state(approval),
            words::plain(&approval.summary),
            words::voters(approval),
        );
        if self.known.get(&approval.id) == Some(&line) {
            return Ok(());
        }
        let json = words::json(approval);
        self.output.item(&line, &json!(json).to_string())?;
        if approval.asks_you {
            self.output.bell();
        }
        if words::is_live(approval) {
            self.known.insert(approval.id.clone(), line);
        } else {
            self.known.remove(&approval.id);
        }
        Ok(())
    }
}

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Half a day of a signer that is not there.
const LOST_MAX: u32 = 1_440;
