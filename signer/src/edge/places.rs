//! Bounded places: so many for each name, so many for all together. Each is free again when it is
//! dropped, and a name that holds none leaves no trace.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;

/// Places of one kind.
#[derive(Clone)]
pub(super) struct Places {
    each: usize,
    all: Arc<Semaphore>,
    names: Arc<Names>,
}

type Names = Mutex<HashMap<String, Weak<Share>>>;

/// What one name may hold of [`Places`].
pub(super) struct Share {
    name: String,
    mine: Arc<Semaphore>,
    all: Arc<Semaphore>,
    names: Arc<Names>,
}

/// One place.
pub(super) struct Place {
    _mine: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
    _share: Arc<Share>,
}

/// Which bound leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The name has as many as it may.
    Name,
    /// All names together have as many as they may.
    All,
}

impl Places {
    /// So many for each name, so many for all.
    pub(super) fn new(each: usize, all: usize) -> Self {
        Self { each, all: Arc::new(Semaphore::new(all)), names: Arc::default() }
    }

    /// The share of a name: the same one for as long as anybody holds it.
    pub(super) fn share(&self, name: &str) -> Arc<Share> {
        let mut names = self.names.lock();
        if let Some(share) = names.get(name).and_then(Weak::upgrade) {
            return share;
        }
        let share = Arc::new(Share {
            name: name.to_owned(),
            mine: Arc::new(Semaphore::new(self.each)),
            all: Arc::clone(&self.all),
            names: Arc::clone(&self.names),
        });
        names.insert(name.to_owned(), Arc::downgrade(&share));
        share
    }
}

impl Share {
    /// A place, if there is one now.
    pub(super) fn try_take(self: &Arc<Self>) -> Result<Place, Full> {
        let mine = Arc::clone(&self.mine).try_acquire_owned().map_err(|_| Full::Name)?;
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Full::All)?;
        Ok(Place { _mine: mine, _all: all, _share: Arc::clone(self) })
    }

    /// A place, once there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        let mine = Arc::clone(&self.mine).acquire_owned().await;
        let all = Arc::clone(&self.all).acquire_owned().await;
        match (mine, all) {
            (Ok(mine), Ok(all)) => Place { _mine: mine, _all: all, _share: Arc::clone(self) },
            // Nobody closes these semaphores.
            (Err(_), _) | (_, Err(_)) => std::future::pending().await,
        }
    }
}

impl Place {
    /// Does this, and gives the place back when it is done: not before, whoever hangs up.
    pub(super) async fn hold<T: Send + 'static>(
        self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let held = tokio::spawn(async move {
            let done = work.await;
            drop(self);
            done
        });
        held.await.map_err(|_| Refusal::ShuttingDown)?
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut names = self.names.lock();
        // Somebody may have come back under the name since the last holder went.
        if names.get(&self.name).is_some_and(|share| share.strong_count() == 0) {
            names.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_name_gets_its_place_back_and_leaves_no_trace() {
        let places = Places::new(1, 2);
        let first = places.share("a").try_take();
        assert!(first.is_ok());
        assert_eq!(places.share("a").try_take().err(), Some(Full::Name));
        let other = places.share("b").try_take();
        assert!(other.is_ok());
        assert_eq!(places.share("c").try_take().err(), Some(Full::All));
        drop((first, other));
        assert!(places.names.lock().is_empty());
        assert!(places.share("a").try_take().is_ok());
    }

    #[tokio::test]
    async fn a_place_is_held_until_its_work_is_done_whoever_hangs_up() {
        let places = Places::new(1, 1);
        let place = places.share("a").try_take().unwrap();
        let (begin, begun) = oneshot::channel();
        let (end, wait) = oneshot::channel();
        let asked = tokio::spawn(place.hold(async move {
            begin.send(()).unwrap();
            wait.await.map_err(|_| Refusal::ShuttingDown)
        }));
        begun.await.unwrap();
        asked.abort();
        assert!(asked.await.is_err(), "it has hung up");
        assert_eq!(places.share("a").try_take().err(), Some(Full::Name));
        end.send(()).unwrap();
        drop(places.share("a").take().await);
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_place_that_is_given_back() {
        let places = Places::new(1, 1);
        let held = places.share("a").try_take();
        let waiting = tokio::spawn({
            let share = places.share("a");
            async move { share.take().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        drop(waiting.await.unwrap());
        assert!(places.names.lock().is_empty());
    }
}
