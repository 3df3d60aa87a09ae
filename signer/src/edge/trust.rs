//! The trust material in force, and how it is replaced while connections live.
//!
//! Each part (our certificate with its key, the client CAs, each file of CRLs) is taken over whole
//! or not at all, and by itself: an expired certificate of ours must not keep a revocation out.
//! Whatever is wrong with a part on disk, its last good state stays in force and the trouble is
//! told.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::server::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use tokio::sync::{oneshot, watch};

use super::WallClock;
use super::files::{Content, Pair, Source, TrustError, TrustFiles, read_public};
use super::material::{CrlFile, CrlStatus, Material, Parts, Server, unix_time};
use super::verifier::Anchor;

/// One plane's certificates, CAs and CRLs, followed as their files change.
pub struct Trust {
    files: TrustFiles,
    clock: WallClock,
    material: ArcSwap<Material>,
    generation: watch::Sender<u64>,
    following: Mutex<Following>,
    /// As of the last look. Apart, because a look may wait for a slow disk.
    troubles: Mutex<Vec<Arc<TrustError>>>,
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
    /// A part of the files changed to something unusable.
    #[error("{0}; the last good state stays in force")]
    Reload(Arc<TrustError>),
    /// Our own certificate has expired: clients refuse us.
    #[error("the server certificate has expired")]
    ServerExpired,
    /// A CRL has expired: every client that it covers is refused.
    #[error("the CRL {path} has expired", path = .0.path.display())]
    CrlExpired(CrlStatus),
    /// A client CA has expired, or is not valid yet: every client that it issued is refused.
    #[error("the client CA {subject} in {path} has expired or is not valid yet")]
    CaNotCurrent {
        /// The bundle.
        path: PathBuf,
        /// The CA's subject.
        subject: String,
    },
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

/// What was last seen of each part.
struct Following {
    server: Followed<Server>,
    anchors: Followed<Vec<Anchor>>,
    crls: Vec<(PathBuf, Followed<CrlFile>)>,
    /// Parts changed and could not be put together.
    trouble: Option<Arc<TrustError>>,
}

/// One part and the files it comes from.
struct Followed<T> {
    value: Arc<T>,
    in_force: [u8; 32],
    /// Seen at the last look, not yet in force.
    candidate: Option<[u8; 32]>,
    trouble: Option<Arc<TrustError>>,
}

/// How long a change must have stood before it is taken over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// It must look the same twice: somebody may still be writing.
    SeenTwice,
    /// Somebody says that it is complete.
    AtOnce,
}

impl Trust {
    /// Loads the files for the first time.
    ///
    /// # Errors
    /// [`TrustError`], when any of them cannot be used: there is nothing to fall back on yet.
    pub fn load(files: TrustFiles, clock: WallClock) -> Result<Arc<Self>, TrustError> {
        let following = Following::begin(&files, &clock)?;
        let material = Material::assemble(&following.parts(), &clock, FIRST_GENERATION)?;
        Ok(Arc::new(Self {
            files,
            clock,
            material: ArcSwap::from_pointee(material),
            generation: watch::Sender::new(FIRST_GENERATION),
            following: Mutex::new(following),
            troubles: Mutex::default(),
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
    /// returned, no request of a peer that the new material refuses is dispatched.
    ///
    /// # Errors
    /// [`TrustError`], when a part of the files cannot be used: its last good state stays in force,
    /// and what is sound has been taken over all the same.
    pub fn reload(&self) -> Result<Reloaded, Arc<TrustError>> {
        let reloaded = self.take_over(Settled::AtOnce);
        match self.troubles.lock().first() {
            Some(error) => Err(Arc::clone(error)),
            None => Ok(reloaded),
        }
    }

    /// What an operator should see to, now.
    pub fn troubles(&self) -> Vec<TrustTrouble> {
        let now = (self.clock)();
        let mut troubles: Vec<TrustTrouble> =
            self.troubles.lock().iter().cloned().map(TrustTrouble::Reload).collect();
        let material = self.material.load();
        if now > material.server_not_after {
            troubles.push(TrustTrouble::ServerExpired);
        }
        let expired = |crl: &&CrlStatus| crl.next_update.is_some_and(|end| now > end);
        troubles
            .extend(material.crls.iter().filter(expired).cloned().map(TrustTrouble::CrlExpired));
        let strange = material.verifier.anchors().iter().filter(|anchor| !anchor.is_current(now));
        troubles.extend(strange.map(|anchor| TrustTrouble::CaNotCurrent {
            path: self.files.client_ca.clone(),
            subject: anchor.subject.clone(),
        }));
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

    /// The same for whoever shows no certificate.
    pub(super) fn anybody(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.material.load().anybody)
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
        match self.take_over(Settled::SeenTwice) {
            Reloaded::Swapped(generation) => tracing::info!(generation, "took over trust files"),
            Reloaded::Unchanged => {}
        }
    }

    fn take_over(&self, settled: Settled) -> Reloaded {
        let mut following = self.following.lock();
        let changed = following.look(&self.files, (self.clock)(), settled);
        let reloaded = if changed { self.swap(&mut following) } else { Reloaded::Unchanged };
        *self.troubles.lock() = following.troubles();
        reloaded
    }

    fn swap(&self, following: &mut Following) -> Reloaded {
        let generation = self.generation().saturating_add(1);
        match Material::assemble(&following.parts(), &self.clock, generation) {
            Ok(material) => {
                self.material.store(Arc::new(material));
                self.generation.send_replace(generation);
                following.trouble = None;
                Reloaded::Swapped(generation)
            }
            Err(error) => {
                note(&mut following.trouble, error);
                Reloaded::Unchanged
            }
        }
    }
}

impl Following {
    fn begin(files: &TrustFiles, clock: &WallClock) -> Result<Self, TrustError> {
        let source = files.read_server()?;
        let server = Followed::begin(files.server(&source.content, clock())?, source.digest);
        let source = files.read_client_ca()?;
        let anchors = Followed::begin(files.anchors(&source.content)?, source.digest);
        let crls = files.crl.iter().map(|path| {
            let source = read_public(path)?;
            let file = CrlFile::parse(path, &source.content, &anchors.value)?;
            Ok((path.clone(), Followed::begin(file, source.digest)))
        });
        let crls = crls.collect::<Result<_, TrustError>>()?;
        Ok(Self { server, anchors, crls, trouble: None })
    }

    /// Looks at every part, whatever is wrong with the others. Whether any is to be taken over.
    fn look(&mut self, files: &TrustFiles, now: SystemTime, settled: Settled) -> bool {
        let parse = |pair: &Pair| files.server(pair, now);
        let mut changed = self.server.look(files.read_server(), settled, parse);
        changed |= self.anchors.look(files.read_client_ca(), settled, |pem| files.anchors(pem));
        for (path, crl) in &mut self.crls {
            let anchors = &self.anchors.value;
            let parse = |pem: &Content| CrlFile::parse(path, pem, anchors);
            changed |= crl.look(read_public(path), settled, parse);
        }
        // What could not be put together is tried again.
        changed || self.trouble.is_some()
    }

    fn parts(&self) -> Parts {
        Parts {
            server: Arc::clone(&self.server.value),
            anchors: Arc::clone(&self.anchors.value),
            crls: self.crls.iter().map(|(_, crl)| Arc::clone(&crl.value)).collect(),
        }
    }

    fn troubles(&self) -> Vec<Arc<TrustError>> {
        let own = [&self.server.trouble, &self.anchors.trouble];
        let crls = self.crls.iter().map(|(_, crl)| &crl.trouble);
        own.into_iter().chain(crls).chain([&self.trouble]).flatten().cloned().collect()
    }
}

impl<T> Followed<T> {
    fn begin(value: T, in_force: [u8; 32]) -> Self {
        Self { value: Arc::new(value), in_force, candidate: None, trouble: None }
    }

    /// Takes over what was read, if it is another, settled and sound. Whether it was.
    fn look<C>(
        &mut self,
        read: Result<Source<C>, TrustError>,
        settled: Settled,
        parse: impl FnOnce(&C) -> Result<T, TrustError>,
    ) -> bool {
        let source = match read {
            Ok(source) => source,
            Err(error) => {
                note(&mut self.trouble, error);
                return false;
            }
        };
        let candidate = self.candidate.replace(source.digest);
        if source.digest == self.in_force {
            self.trouble = None;
            return false;
        }
        if settled == Settled::SeenTwice && candidate != Some(source.digest) {
            return false;
        }
        match parse(&source.content) {
            Ok(value) => {
                self.value = Arc::new(value);
                self.in_force = source.digest;
                self.trouble = None;
                true
            }
            Err(error) => {
                note(&mut self.trouble, error);
                false
            }
        }
    }
}

/// Remembers a trouble, and logs it when it is a new one.
fn note(trouble: &mut Option<Arc<TrustError>>, error: TrustError) {
    let known = trouble.as_ref().is_some_and(|old| old.to_string() == error.to_string());
    if !known {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, source, "trust files on disk cannot be used");
    }
    *trouble = Some(Arc::new(error));
}

/// Generations count from one.
const FIRST_GENERATION: u64 = 1;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
