//! Builds every part from the configuration, serves until told to stop, and loses nothing on the
//! way out.

mod planes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_policy::id::KeyId;
use portcullis_policy::record::{Actor, Frozen};
use portcullis_policy::stops::Scope;
use portcullis_proto::v1::FILE_DESCRIPTOR_SET;
use portcullis_proto::v1::approval_service_server::ApprovalServiceServer;
use portcullis_proto::v1::control_service_server::ControlServiceServer;
use portcullis_proto::v1::key_service_server::KeyServiceServer;
use portcullis_proto::v1::people_service_server::PeopleServiceServer;
use portcullis_proto::v1::signing_service_server::SigningServiceServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tonic::service::Routes;

use self::planes::{Joined, Planes, unless_hung, writer_result};
use crate::attestor::Attestor;
use crate::config::{self, Config, ConfigError};
use crate::door::Door;
use crate::edge::approvals::Approvals;
use crate::edge::control::Control;
use crate::edge::readers::Readers;
use crate::edge::receipts::Receipts;
use crate::edge::release::Release;
use crate::edge::signing::Signing;
use crate::edge::stop_orders::StopOrders;
use crate::edge::{Loopback, LoopbackError, Probe, TrustError};
use crate::fencer::Fencer;
use crate::health::Health;
use crate::hsm::{Hsm, HsmError};
use crate::journal::{OpenError, PlacesError, Storage};
use crate::keys::Keys;
use crate::marker::Marker;
use crate::pipeline::Pipeline;
use crate::process;
use crate::proofs::Proofs;
use crate::remover::Remover;
use crate::rescue;
use crate::sequencer::{self, Fatal, Heard, Sequencer, StartError, Started};
use crate::snapshot::{self, Chosen, Judged, Progress, Shadow, Trusted};
use crate::throttle::{Acts, Throttle};
use crate::witness::{Follower, Mode, OtherJournal, Remote};

/// Why the signer did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The process could not be hardened.
    #[error("the process cannot be hardened")]
    Process(#[from] process::Unhardened),
    /// The configuration is unusable.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The journal cannot be opened.
    #[error("the journal cannot be opened")]
    Journal(#[from] OpenError),
    /// The checkpoints beside it cannot be.
    #[error("the checkpoints beside the journal cannot be read")]
    Checkpoints(#[from] PlacesError),
    /// The journal cannot be started from.
    #[error("the journal cannot be started from")]
    Start(#[from] StartError),
    /// It is another one than the operator wrote down.
    #[error("the journal is not the one that is meant")]
    OtherJournal(#[from] OtherJournal),
    /// The token cannot be used.
    #[error("the token cannot be used")]
    Hsm(#[from] HsmError),
    /// Certificates, keys or CRLs cannot be used.
    #[error("certificates of the {plane} cannot be used")]
    Trust {
        /// Which listener.
        plane: &'static str,
        /// Why.
        #[source]
        source: Arc<TrustError>,
    },
    /// An address cannot be listened on.
    #[error("the {plane} cannot listen on {address}")]
    Listen {
        /// Which listener.
        plane: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The plaintext listener.
    #[error("health and metrics cannot be served")]
    Loopback(#[from] LoopbackError),
    /// The operating system's services.
    #[error("{path:?} cannot be written")]
    Addresses {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for")]
    Signals(#[source] std::io::Error),
    /// Reflection cannot be built: a mistake of ours.
    #[error("gRPC reflection cannot be built")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The writer ended by itself.
    #[error("the journal's writer ended")]
    Writer(#[from] Fatal),
    /// The writer's thread panicked.
    #[error("the journal's writer panicked")]
    WriterPanicked,
    /// Calls that hang keep everybody from signing.
    #[error(
        "calls into the PKCS#11 module do not end, and until they do nothing can be signed: a \
         fresh process is needed"
    )]
    TokenHung,
    /// Something ended that must not, or a checkpoint could not be kept.
    #[error(
        "a listener or a watch over the token ended, or a checkpoint could not be kept: without \
         these nobody could stop the signing, or attest it"
    )]
    PlaneEnded,
}

/// Serves until SIGTERM or SIGINT, or until the journal's writer cannot go on.
pub async fn serve(config: &Config) -> Result<(), AppError> {
    let memory_locked = process::harden()?;
    // Before anything that takes long: until then the signal would end the process.
    let stops = signal(SignalKind::user_defined1()).map_err(AppError::Signals)?;
    let opened = snapshot::open(&config.data)?;
    let hsm = Arc::new(Hsm::open(&config.hsm()?)?);
    let (started, marker, attestor, (proofs, verified)) = begin(config, opened, &hsm).await?;
    let Started { sequencer, clock, writer, unfinished_keys, .. } = started;
    let fencer = Arc::new(Fencer::new(sequencer.clone(), hsm.clone()));
    let keys = Arc::new(Keys::new(sequencer.clone(), hsm.clone(), fencer.clone()));
    // Before the token is held against the journal: what somebody did there is then no drift.
    let untaken_notes = rescue::notes::take_in(&config.data, &sequencer, &clock).await;
    keys.check(&unfinished_keys).await?;
    let mut planes = Planes::default();
    planes.keep(watch_keys(keys.clone(), unfinished_keys));
    let remover = Remover::new(sequencer.clone(), hsm.clone(), config.hsm.backups().to_vec());
    planes.keep(fencer.clone().run());
    planes.keep(marker.clone().run());
    planes.keep(remover.run());
    planes.keep(stop_on_signals(stops, sequencer.clone(), fencer.clone()));

    let data = Door::open("data plane", &config.data_plane).await?;
    let control = Door::open("control plane", &config.control_plane).await?;
    let loopback = Loopback::bind(config.loopback.listen).await?;
    let orders = bind_orders(config.stop_orders.as_ref()).await?;
    let health = Arc::new(Health {
        sequencer: sequencer.clone(),
        hsm: hsm.clone(),
        keys: keys.clone(),
        trust: vec![data.trust(), control.trust()],
        edge: vec![data.counters(), control.counters()],
        memory_locked,
        marker: marker.clone(),
        attestor: attestor.clone(),
        verified,
        untaken_notes,
        clock: clock.clone(),
    });
    publish(&config.data, [data.address, control.address, loopback.address()], orders.as_ref())?;

    let throttle = Throttle::new(config.rate_per_second_max);
    let pipeline = Pipeline::new(sequencer.clone(), hsm.clone(), throttle, attestor.cover());
    planes.keep(forget_signatures(pipeline.clone()));
    let reader = proofs.reader().clone();
    let receipts = Receipts::new(sequencer.clone(), attestor.clone(), proofs);
    let signing = Signing::new(pipeline, sequencer.clone(), receipts.beside());
    let approvals = Approvals::new(sequencer.clone());
    let people = Control {
        sequencer: sequencer.clone(),
        keys,
        fencer: fencer.clone(),
        readers: Readers::new(reader),
        receipts,
        health: health.clone(),
        clock: clock.clone(),
        acts: approvals.acts.clone(),
        checks: Acts::default(),
    };

    planes.keep(attestor.clone().run());
    if let Some(listener) = orders {
        let (trust, sequencer) = (control.trust.clone(), sequencer.clone());
        let orders = StopOrders { listener, trust, sequencer, fencer, clock };
        planes.serve(|stopped| orders.serve(stopped));
    }
    let (signing, people) = (data_routes(signing)?, control_routes(people, approvals)?);
    planes.serve(|stopped| data.serve(Release(signing), stopped));
    planes.serve(|stopped| control.serve(Release(people), stopped));
    planes.serve(|stopped| loopback.serve(probe(&health), stopped));

    let mut writer_ended = watched(writer);
    unless_hung(planes.until_the_end(&mut writer_ended), &hsm).await?;
    planes.end().await;
    sequencer.finish();
    leave(writer_ended, &marker, &attestor, &hsm).await
}

/// Tells when the writer has ended, and how.
fn watched(writer: JoinHandle<Result<(), Fatal>>) -> oneshot::Receiver<Joined> {
    let (ended, writer_ended) = oneshot::channel();
    std::thread::spawn(move || ended.send(writer.join()));
    writer_ended
}

/// Waits for the writer, and tells where the journal ended.
async fn leave(
    writer_ended: oneshot::Receiver<Joined>,
    marker: &Marker,
    attestor: &Attestor,
    token: &Hsm,
) -> Result<(), AppError> {
    let result = writer_result(writer_ended.await);
    marker.tell().await;
    if let Err(error) = attestor.attest().await {
        tracing::error!(%error, "the last checkpoint could not be kept");
    }
    attestor.ask_once().await;
    token.close().await;
    result
}

/// Starts the sequencer, on a journal that is the one that the token and its last checkpoint speak
/// of.
async fn begin(
    config: &Config,
    journal: Chosen,
    token: &Arc<Hsm>,
) -> Result<(Started, Arc<Marker>, Arc<Attestor>, (Proofs, Arc<Progress>)), AppError> {
    let Judged { storage, opened, trusted } = {
        let prove = async |key| token.prove_checkpoint_key(key).await;
        journal.judged(&config.data, prove).await?
    };
    let vault = sequencer::vault_of(&storage).map_err(StartError::Read)?;
    let marked = Marker::read(token, vault.ok_or(StartError::Empty)?).await?;
    let (places, kept) = storage.places()?;
    let (begun, tiles, claims) = trusted.map_or_else(Default::default, Trusted::parts);
    let proofs = Proofs::from(&storage.reader(), tiles);
    let cut = opened.cut.as_ref().map_or(0, |cut| cut.bytes);
    let heard = Heard { marked, kept };
    let started = sequencer::start_from(Box::new(storage), cut, &heard, begun)?;
    // What is known to be another journal is stopped already, once.
    let claims = if started.behind.is_some() { claims } else { claims.marked(marked) };
    let place = (config.data.as_path(), snapshot::seal(token.clone()));
    let shadow = Shadow::of(&started, proofs.reader(), place, claims);
    let shadow = shadow.archived(config.archive.clone());
    let (verified, _) = shadow.spawn().map_err(StartError::Thread)?;
    let (sequencer, behind) = (started.sequencer.clone(), started.behind.clone());
    // Before a key for checkpoints is made: another journal gets none.
    config.pinned()?.map_or(Ok(()), |pinned| pinned.check(&sequencer.view()))?;
    sequencer.arm(config.triggers.denials()?);
    let follow = |(remote, mode): (Remote, Mode)| {
        tracing::info!(witness = %remote.witness(), ?mode, "has a witness");
        Follower::new(remote, mode, sequencer.clone(), proofs.clone()).knowing(&heard.kept)
    };
    let follower = config.witness()?.map(follow);
    let attestor = Attestor::new(sequencer.clone(), token.clone(), places, follower);
    attestor.prepare().await;
    // Before anybody can ask for anything: if there is another journal, everything starts stopped.
    attestor.ask_once().await;
    let marker = Marker::new(sequencer, token.clone(), marked, behind);
    Ok((started, Arc::new(marker), Arc::new(attestor), (proofs, verified)))
}

/// Reads every key's attributes again from time to time: one that drifts while we serve is frozen.
async fn watch_keys(keys: Arc<Keys>, unfinished: BTreeSet<KeyId>) {
    loop {
        tokio::time::sleep(KEYS_READ_EVERY).await;
        if let Err(error) = keys.check(&unfinished).await {
            // The token's own health says that it is gone; the next round tries again.
            tracing::warn!(%error, "the token's keys could not be read again");
        }
    }
}

/// Signatures stay in memory for two minutes at most, also if nobody asks for anything.
async fn forget_signatures(pipeline: Arc<Pipeline>) {
    loop {
        tokio::time::sleep(SIGNATURES_AGE_EVERY).await;
        pipeline.forget_old_signatures();
    }
}

async fn bind_orders(config: Option<&config::StopOrders>) -> Result<Option<TcpListener>, AppError> {
    let Some(config::StopOrders { listen }) = config else { return Ok(None) };
    let fault = |source| AppError::Listen { plane: "stop orders", address: *listen, source };
    TcpListener::bind(listen).await.map(Some).map_err(fault)
}

/// SIGUSR1 stops everything: for whoever has the host and nothing else.
async fn stop_on_signals(mut signals: Signal, sequencer: Sequencer, fencer: Arc<Fencer>) {
    while signals.recv().await.is_some() {
        let reason = "SIGUSR1 on the host".to_owned();
        let stop = Frozen { by: Actor::Signer, reason, scope: Scope::All };
        let view = sequencer.view();
        let stopped = sequencer.freeze(stop).await;
        if stopped.sequence.is_none() {
            fencer.fence_unrecorded(&view, &Scope::All).await;
        }
        tracing::warn!(recorded = stopped.sequence.is_some(), "SIGUSR1: everything is stopped");
    }
}

fn data_routes(signing: Signing) -> Result<Routes, AppError> {
    let signing = SigningServiceServer::new(signing).max_decoding_message_size(REQUEST_BYTES_MAX);
    Ok(Routes::new(signing).add_service(reflection()?).add_service(serving_health()))
}

fn control_routes(control: Control, approvals: Approvals) -> Result<Routes, AppError> {
    let keys = KeyServiceServer::new(control.clone());
    let control = ControlServiceServer::new(control).max_decoding_message_size(BOOK_BYTES_MAX);
    let people = PeopleServiceServer::new(approvals.clone());
    let people = people.max_decoding_message_size(RECOVERY_BYTES_MAX);
    let approvals = ApprovalServiceServer::new(approvals).max_decoding_message_size(BOOK_BYTES_MAX);
    Ok(Routes::new(keys)
        .add_service(control)
        .add_service(approvals)
        .add_service(people)
        .add_service(reflection()?)
        .add_service(serving_health()))
}

/// Whoever can connect may ask: the process is up. Whether signatures can be made is on loopback.
fn serving_health()
-> tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health> {
    let (_reporter, service) = tonic_health::server::health_reporter();
    service
}

fn reflection() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<
        impl tonic_reflection::server::v1::ServerReflection,
    >,
    AppError,
> {
    let builder = tonic_reflection::server::Builder::configure();
    Ok(builder.register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET).build_v1()?)
}

fn probe(health: &Arc<Health>) -> Probe {
    let (ready, metrics) = (health.clone(), health.clone());
    Probe {
        ready: Box::new(move || ready.blocking()),
        metrics: Box::new(move || metrics.metrics()),
    }
}

/// Says in `addresses.json` where each listener really listens: with port 0 only we know.
fn publish(
    data: &Path,
    listening: [SocketAddr; 3],
    orders: Option<&TcpListener>,
) -> Result<(), AppError> {
    let names = ["data_plane", "control_plane", "loopback"];
    let mut addresses: BTreeMap<&str, String> =
        names.into_iter().zip(listening.map(|address| address.to_string())).collect();
    let orders = orders.and_then(|listener| listener.local_addr().ok());
    addresses.extend(orders.map(|address| ("stop_orders", address.to_string())));
    tracing::info!(?addresses, "serving");
    let text = serde_json::to_string(&addresses).unwrap_or_default();
    let path = data.join("addresses.json");
    std::fs::write(&path, text).map_err(|source| AppError::Addresses { path, source })
}

/// Long enough to cost nothing, short enough that nobody waits for the next restart to hear of it.
const KEYS_READ_EVERY: Duration = Duration::from_secs(60);

/// See [`Pipeline::forget_old_signatures`].
const SIGNATURES_AGE_EVERY: Duration = Duration::from_secs(60);

/// A transaction of 128 KiB and what goes around it.
const REQUEST_BYTES_MAX: usize = 160 * 1024;

/// A book of a hundred thousand addresses takes about 5 MB.
const BOOK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A recovery of as many people as there may be, with the signatures of all.
const RECOVERY_BYTES_MAX: usize = 512 * 1024;
