//! What runs beside the writer for as long as the process serves, and what ends it.

use std::pin::Pin;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::AppError;
use crate::hsm::Hsm;
use crate::sequencer::Fatal;

/// The listeners, and the word that ends them.
#[derive(Default)]
pub(super) struct Planes {
    tasks: JoinSet<()>,
    kept: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Planes {
    /// Begins to serve, until told to stop.
    pub(super) fn serve<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        begin: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> F,
    ) {
        let mut stop = self.stop.subscribe();
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        self.tasks.spawn(begin(Box::pin(stopped)));
    }

    /// Runs something that must not end either, also not by a panic, for as long as there are
    /// listeners: what they finish on the way out may wait for it, or be stopped by it. Then it is
    /// dropped.
    pub(super) fn keep<T: Send + 'static>(
        &mut self,
        run: impl Future<Output = T> + Send + 'static,
    ) {
        self.kept.spawn(async move { drop(run.await) });
    }

    /// Ends well when told to; else because the journal cannot be written any more, or because a
    /// listener is gone: a signer that cannot be told to stop must not go on signing.
    pub(super) async fn until_the_end(
        &mut self,
        writer_ended: &mut oneshot::Receiver<Joined>,
    ) -> Result<(), AppError> {
        tokio::select! {
            told = told_to_stop() => told.map_err(AppError::Signals),
            ended = &mut *writer_ended => {
                writer_result(ended)?;
                Err(AppError::PlaneEnded)
            }
            _ = self.tasks.join_next() => Err(AppError::PlaneEnded),
            // What follows the journal ends with its writer, which knows why.
            Some(_) = self.kept.join_next() => {
                if let Ok(ended) = timeout(WRITER_ENDS_WITHIN, writer_ended).await {
                    writer_result(ended)?;
                }
                Err(AppError::PlaneEnded)
            }
        }
    }

    pub(super) async fn end(mut self) {
        tracing::info!("stopping: finishing what is under way");
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.kept.shutdown().await;
    }
}

/// Until the end, or until calls that hang in the token's module have taken all sessions for too
/// long. Stops are taken to the last moment, and all of them are on record.
pub(super) async fn unless_hung(
    end: impl Future<Output = Result<(), AppError>>,
    token: &Hsm,
) -> Result<(), AppError> {
    tokio::select! {
        ended = end => ended,
        () = token.hung() => Err(AppError::TokenHung),
    }
}

/// From the end of what follows the writer to that of its thread.
const WRITER_ENDS_WITHIN: Duration = Duration::from_secs(1);

pub(super) type Joined = std::thread::Result<Result<(), Fatal>>;

pub(super) fn writer_result<E>(ended: Result<Joined, E>) -> Result<(), AppError> {
    match ended {
        Ok(Ok(result)) => Ok(result?),
        Ok(Err(_)) | Err(_) => Err(AppError::WriterPanicked),
    }
}

async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
