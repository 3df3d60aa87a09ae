//! The trust material in force, and how it is replaced while connections live.
//!
//! New material is taken over whole or not at all; whatever is wrong with the files on disk, the
//! last good material stays in force and the trouble is told. Never loosens anything by itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::server::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::sync::{oneshot, watch};

use super::WallClock;
use super::files::{Source, TrustError, TrustFiles};
use super::material::{CrlStatus, Material, unix_time};

/// One plane's certificates, CAs and CRLs, followed as their files change.
pub struct Trust {
    files: TrustFiles,
    clock: WallClock,
    material: ArcSwap<Material>,
    generation: watch::Sender<u64>,
    following: Mutex<Following>,
}

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The files say what is already in force.
    Unchanged,
    /// New material is in force, with this generation number.
    Swapped(u64),
}

/// Something an operator should see to. Each makes the plane refuse somebody, now or soon.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrustTrouble {
    /// The files changed to something unusable.
    #[error("the trust files on disk cannot be used; the last good ones stay in force")]
    Reload(#[source] Arc<TrustError>),
    /// Our own certificate has expired: clients refuse us.
    #[error("the server certificate has expired")]
    ServerExpired,
    /// A CRL has expired: every client that it covers is refused.
    #[error("the CRL {path} has expired", path = .0.path.display())]
    CrlExpired(CrlStatus),
}

/// Dates for metrics and alerts.
#[derive(Clone, Debug)]
pub struct TrustStatus {
    /// How many times material was taken over; the first is 1.
    pub generation: u64,
    /// The last moment at which the server's certificate is valid.
    pub server_not_after: SystemTime,
    /// The CRLs in force.
    pub crls: Vec<CrlStatus>,
}

struct Following {
    in_force: [u8; 32],
    /// Seen at the last look, not yet in force.
    candidate: Option<[u8; 32]>,
    trouble: Option<Arc<TrustError>>,
}

impl Trust {
    /// Loads the files for the first time.
    ///
    /// # Errors
    /// [`TrustError`], when any of them cannot be used: there is nothing to fall back on yet.
    pub fn load(files: TrustFiles, clock: WallClock) -> Result<Arc<Self>, TrustError> {
        let source = files.read()?;
        let material = files.assemble(&source, &clock, FIRST_GENERATION)?;
        let following = Following { in_force: source.digest, candidate: None, trouble: None };
        Ok(Arc::new(Self {
            files,
            clock,
            material: ArcSwap::from_pointee(material),
            generation: watch::Sender::new(FIRST_GENERATION),
            following: Mutex::new(following),
        }))
    }

    /// Follows the files for ever; spawn it, and abort it at the end. Looks once a second, and
    /// takes over what it has seen twice, so that a file still being written is left alone.
    ///
    /// On a thread of its own: a runtime whose blocking threads are all taken still revokes.
    pub async fn follow(self: Arc<Self>) {
        loop {
            // Dropped with this future, and the thread ends.
            let (_following, end) = mpsc::channel::<Infallible>();
            let (ended, wait) = oneshot::channel::<Infallible>();
            let trust = Arc::clone(&self);
            let looking = std::thread::Builder::new().name("trust-files".into()).spawn(move || {
                let _ended = ended;
                while end.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    trust.look();
                }
            });
            match looking {
                Ok(_) => drop(wait.await),
                Err(error) => tracing::error!(%error, "no thread to look at the trust files"),
            }
            tracing::error!("the trust files are not looked at: beginning anew");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Takes over what is on disk now. Reads files: call it where blocking is allowed. After it has
    /// returned `Swapped`, no request of a peer that the new material refuses is dispatched.
    ///
    /// # Errors
    /// [`TrustError`], when the files cannot be used; the last good material stays in force.
    pub fn reload(&self) -> Result<Reloaded, Arc<TrustError>> {
        let mut following = self.following.lock();
        let source = self.files.read().map_err(|error| following.note(error))?;
        self.take_over(&mut following, &source)
    }

    /// What an operator should see to, now.
    pub fn troubles(&self) -> Vec<TrustTrouble> {
        let now = (self.clock)();
        let mut troubles = Vec::new();
        if let Some(error) = &self.following.lock().trouble {
            troubles.push(TrustTrouble::Reload(Arc::clone(error)));
        }
        let material = self.material.load();
        if now > material.server_not_after {
            troubles.push(TrustTrouble::ServerExpired);
        }
        let expired = |crl: &&CrlStatus| crl.next_update.is_some_and(|end| now > end);
        troubles
            .extend(material.crls.iter().filter(expired).cloned().map(TrustTrouble::CrlExpired));
        troubles
    }

    /// Generation and dates of what is in force.
    pub fn status(&self) -> TrustStatus {
        let material = self.material.load();
        TrustStatus {
            generation: material.generation,
            server_not_after: material.server_not_after,
            crls: material.crls.clone(),
        }
    }

    /// The TLS configuration for the next handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.material.load().config)
    }

    pub(super) fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// The number of what is in force now.
    pub(super) fn generation(&self) -> u64 {
        self.material.load().generation
    }

    /// Wakes when new material is in force.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Verifies a client's chain, leaf first, as a handshake at `now` would. Returns the generation
    /// of the material that said yes.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Option<u64> {
        let material = self.material.load();
        let (leaf, intermediates) = chain.split_first()?;
        let now = unix_time(now)?;
        match material.verifier.verify_client_cert(leaf, intermediates, now) {
            Ok(_) => Some(material.generation),
            Err(error) => {
                tracing::info!(%error, "a live connection's certificate no longer verifies");
                None
            }
        }
    }

    /// One look of [`Trust::follow`].
    fn look(&self) {
        let mut following = self.following.lock();
        let source = match self.files.read() {
            Ok(source) => source,
            Err(error) => {
                following.note(error);
                return;
            }
        };
        let settled = following.candidate.replace(source.digest) == Some(source.digest);
        if settled || source.digest == following.in_force {
            match self.take_over(&mut following, &source) {
                Ok(Reloaded::Swapped(generation)) => {
                    tracing::info!(generation, "took over new trust files");
                }
                // Either nothing happened, or `note` has told of it.
                Ok(Reloaded::Unchanged) | Err(_) => {}
            }
        }
    }

    fn take_over(
        &self,
        following: &mut Following,
        source: &Source,
    ) -> Result<Reloaded, Arc<TrustError>> {
        if source.digest == following.in_force {
            following.trouble = None;
            return Ok(Reloaded::Unchanged);
        }
        let generation = self.generation().saturating_add(1);
        let material = self
            .files
            .assemble(source, &self.clock, generation)
            .map_err(|error| following.note(error))?;
        self.material.store(Arc::new(material));
        self.generation.send_replace(generation);
        following.in_force = source.digest;
        following.trouble = None;
        Ok(Reloaded::Swapped(generation))
    }
}

impl Following {
    /// Remembers a trouble, and logs it when it is a new one.
    fn note(&mut self, error: TrustError) -> Arc<TrustError> {
        let error = Arc::new(error);
        let known = self.trouble.as_ref().is_some_and(|old| old.to_string() == error.to_string());
        if !known {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "the trust files on disk cannot be used");
        }
        self.trouble = Some(Arc::clone(&error));
        error
    }
}

/// Generations count from one.
const FIRST_GENERATION: u64 = 1;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
