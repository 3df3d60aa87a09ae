//! Work that takes long, done off the executor and out of the writer, one at a time.
//!
//! A turn travels with its work: whoever hangs up ends their own waiting, and lets nobody else
//! begin before the work is done.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::refusal::Refusal;

/// Work of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<()>>);

/// Until this is dropped, it is nobody else's turn.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Does this when its turn has come, where it may take long. The turn comes back with what was
    /// made, for whoever has more to do in it.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Turn), Refusal> {
        let turn = self.0.clone().lock_owned().await;
        let work = move || (work(), turn);
        tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::ShuttingDown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_hangs_up_lets_nobody_else_begin_before_the_work_is_done() {
        let turns = Turns::default();
        let (begin, begun) = oneshot::channel();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let turns = turns.clone();
            async move {
                let work = move || {
                    begin.send(()).unwrap();
                    wait.recv().unwrap();
                };
                turns.take(work).await.map(drop)
            }
        });
        begun.await.unwrap();
        first.abort();
        assert!(first.await.is_err(), "it has hung up");
        assert!(turns.0.try_lock().is_err(), "and somebody else may begin");
        end.send(()).unwrap();
        turns.take(|| ()).await.unwrap();
    }
}
