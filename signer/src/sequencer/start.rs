//! Folds the journal, writes the start record, and lets the writer run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, atomic::AtomicUsize};
use std::thread::JoinHandle;

use alloy_primitives::B256;
use arc_swap::ArcSwap;
use portcullis_policy::id::{CallerId, Epoch, KeyId, Sequence, VaultId};
use portcullis_policy::note::NoteFault;
use portcullis_policy::record::{self, Actor, Entry, Frozen, Record, UnreadableEntry};
use portcullis_policy::state::{State, Unfoldable};
use portcullis_policy::stops::Scope;
use portcullis_policy::tree::{Frontier, leaf_hash};
use tokio::sync::watch;

use super::Sequencer;
use super::checkpoints::Held;
use super::command::lanes;
use super::flood::Flood;
use super::snapshots::Begun;
use super::triggers::Bursts;
use super::turns::Turns;
use super::view::View;
use super::writer::{Fatal, Figures, Writer};
use crate::clock::{self, Clock};
use crate::gate::{Drained, Gate, Who};
use crate::journal::{Batch, Kept, ReadError, Storage, Stored, Urgency};
use crate::marker::Marked;
use crate::signature::PublicPoint;

/// A sequencer that has started.
pub struct Started {
    /// The way to it.
    pub sequencer: Sequencer,
    /// Time as the journal has it.
    pub clock: Arc<Clock>,
    /// The writer. It ends when told to, or when it cannot go on: then the process must end.
    pub writer: JoinHandle<Result<(), Fatal>>,
    /// Keys that were intended and of which no record says that they were made.
    pub unfinished_keys: BTreeSet<KeyId>,
    /// Why the journal is not the one that the token has heard of, if it is not. Everything is
    /// stopped then.
    pub behind: Option<String>,
    /// How far the last snapshot goes that is recorded.
    pub snapshot: Sequence,
}

/// What others than the journal say of it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The token.
    pub marked: Marked,
    /// The checkpoint that was kept last.
    pub kept: Kept,
}

/// A journal that cannot be started from.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It holds nothing.
    #[error("the journal has no records; make one with `portcullis init`")]
    Empty,
    /// It cannot be read.
    #[error("the journal cannot be read")]
    Read(#[from] ReadError),
    /// A record is not in the form this version writes.
    #[error("record {at} cannot be understood")]
    Entry {
        /// Which.
        at: Sequence,
        /// Why.
        #[source]
        source: UnreadableEntry,
    },
    /// A record does not follow from those before it.
    #[error("the journal does not fold")]
    Fold(#[from] Unfoldable),
    /// It has lost records.
    #[error(
        "the journal ends at record {head}, and its checkpoint speaks of {size}: records are lost. \
         Restore the data folder from where they are. If they are nowhere, take the file \
         `checkpoints` away: everything is stopped then until people have looked at it"
    )]
    Shorter {
        /// Where it ends.
        head: Sequence,
        /// Of how many records the checkpoint speaks.
        size: u64,
    },
    /// It was changed, or is another vault's.
    #[error(
        "up to record {size} the journal holds other records than its checkpoint was signed over: \
         restore the data folder, all of it from one place"
    )]
    OtherRecords {
        /// Of how many records the checkpoint speaks.
        size: u64,
    },
    /// What was kept is no checkpoint of this vault.
    #[error("the checkpoint that is kept beside the journal does not count")]
    Checkpoint(#[from] NoteFault),
    /// A recorded public point is none.
    #[error("the public point recorded for key {0} is not on the curve")]
    Point(KeyId),
    /// The start record cannot be written.
    #[error("the start cannot be recorded")]
    Record(#[from] Fatal),
    /// The operating system gives no thread.
    #[error("the writer's thread cannot be started")]
    Thread(#[from] std::io::Error),
}

/// Starts a sequencer on a journal. `cut` is how many bytes of an incomplete batch were cut off,
/// `heard` is what others say of it.
pub fn start(storage: Box<dyn Storage>, cut: u64, heard: &Heard) -> Result<Started, StartError> {
    start_from(storage, cut, heard, None)
}

/// The same from what somebody has made sure of, instead of from the first record.
pub fn start_from(
    storage: Box<dyn Storage>,
    cut: u64,
    heard: &Heard,
    begun: Option<Begun>,
) -> Result<Started, StartError> {
    let (Folded { state, vault, .. }, behind) = folded(&*storage, heard, begun)?;
    let snapshot = state.snapshot();
    let boot = clock::boot_name();
    let clock = Arc::new(Clock::resume(&state, &boot));
    let gate = gate(&state);
    let points = points(&state)?;
    let unfinished = state.keys().iter().filter(|(_, key)| key.made.is_none());
    let unfinished_keys = unfinished.map(|(id, _)| *id).collect();

    let epoch = Epoch(state.epoch().0.max(storage.head().epoch.0)).next();
    let view = Arc::new(ArcSwap::from_pointee(View::of(&state, vault)));
    let (head, head_watch) = watch::channel(storage.head());
    let (matters, changes) = (watch::Sender::new(0), watch::Sender::new(0));
    let figures = Arc::new(Figures::default());
    let started = record::Started { cut, ..start_record(&state, &clock, boot, epoch) };
    let mut writer = Writer {
        vault,
        epoch,
        next: state.last_number().next(),
        state,
        storage,
        clock: clock.clone(),
        gate: gate.clone(),
        points,
        view: view.clone(),
        head,
        figures: figures.clone(),
        pending: BTreeMap::new(),
        batch: Batch::ordinary(),
        answers: Vec::new(),
        flood: Flood::default(),
        bursts: Bursts::default(),
        changed: false,
        matters_changed: false,
        matters: matters.clone(),
        changes: changes.clone(),
    };
    writer.append(writer.clock.now(), Record::Started(started), None)?;
    // With the start in one batch: however often a start dies, none goes on without it. Also if
    // everything is stopped already: whoever agreed to start it again had not heard of this.
    if let Some(reason) = behind.clone() {
        tracing::error!("{reason}: everything is stopped");
        gate.close(&Scope::All);
        let frozen = Frozen { by: Actor::Signer, reason, scope: Scope::All };
        writer.append(writer.clock.now(), Record::Frozen(frozen), None)?;
        gate.recorded(&Scope::All);
        writer.changed = true;
    }
    writer.commit(Urgency::Emergency)?;
    // Health must not say yes until the first request or the first idle second finds out.
    writer.space();

    let (queue, commands) = lanes();
    let thread = std::thread::Builder::new().name("sequencer".into());
    let writer = thread.spawn(move || writer.run(&commands))?;
    let under_way = Arc::new(AtomicUsize::new(0));
    let [adopting, checking, recovering] = [Turns::default(), Turns::default(), Turns::default()];
    let head = head_watch;
    let sequencer = Sequencer {
        queue,
        under_way,
        view,
        head,
        matters,
        changes,
        figures,
        gate,
        adopting,
        checking,
        recovering,
    };
    Ok(Started { sequencer, clock, writer, unfinished_keys, behind, snapshot })
}

/// A journal's name: the hash of its first record. `None` if it has none.
///
/// # Errors
///
/// It cannot be read.
pub fn vault_of(storage: &dyn Storage) -> Result<Option<VaultId>, ReadError> {
    let first = storage.reader().records_from(Sequence(1)).next().transpose()?;
    Ok(first.map(|stored| VaultId(leaf_hash(&stored.record))))
}

/// The journal, held against what others say of it; and why everything is to be stopped, if it is.
fn folded(
    storage: &dyn Storage,
    heard: &Heard,
    begun: Option<Begun>,
) -> Result<(Folded, Option<String>), StartError> {
    let Heard { marked, kept } = heard;
    let held = Held::read(kept)?;
    // What the snapshot was made of is not read now.
    let below = match (&begun, marked) {
        (Some(begun), Marked::At(mark)) if mark.sequence.0 < begun.tiles.size() => {
            begun.follows(mark, &storage.reader())?.then_some(mark.root)
        }
        (Some(_) | None, Marked::At(_) | Marked::Nothing | Marked::Unreadable) => None,
    };
    let folded = fold(storage, [marked.sequence().0, held.size()], begun)?;
    let [marked_root, held_root] = folded.roots;
    held.check(&folded.state, held_root)?;
    let behind = marked.contradicts(storage.head().sequence, marked_root.or(below));
    // One that is empty although a start came after the key was made: emptied, not new.
    let made = folded.state.checkpoints().made.as_ref();
    let unheld = match kept {
        Kept::NoFile => made.is_some(),
        Kept::Nothing => made.is_some_and(|made| made.since < folded.state.last_start()),
        Kept::Text(_) => false,
    };
    let behind = behind.or(unheld.then(|| NO_FILE.to_owned()));
    Ok((folded, behind))
}

/// Everything the journal says, folded.
struct Folded {
    state: State,
    vault: VaultId,
    /// Roots of the tree at the sizes asked for, where the journal comes as far.
    roots: [Option<B256>; 2],
}

fn fold(
    storage: &dyn Storage,
    sizes: [u64; 2],
    begun: Option<Begun>,
) -> Result<Folded, StartError> {
    let (mut folded, mut tree) = match begun {
        Some(Begun { state, tiles }) => (Some(state), tiles.frontier()),
        None => (None, Frontier::default()),
    };
    let mut roots = sizes.map(|size| (size > 0 && tree.size() == size).then(|| tree.root()));
    let most = sizes.into_iter().max().unwrap_or_default();
    for stored in storage.reader().records_from(Sequence(tree.size()).next()) {
        let Stored { sequence, record, .. } = stored?;
        let unreadable = |source| StartError::Entry { at: sequence, source };
        let entry = Entry::decode(&record).map_err(unreadable)?;
        if sequence.0 <= most {
            tree.push(leaf_hash(&record));
            for (root, size) in roots.iter_mut().zip(sizes) {
                if tree.size() == size {
                    *root = Some(tree.root());
                }
            }
        }
        match &mut folded {
            Some(state) => state.apply(&entry)?,
            None => folded = Some(State::genesis(&entry)?),
        }
    }
    let mut state = folded.ok_or(StartError::Empty)?;
    state.parse_proposed_books();
    Ok(Folded { vault: state.vault(), state, roots })
}

/// What is stopped stays so; and whatever was recorded for somebody may have been released by the
/// process before, so a stop must count it among what was.
fn gate(state: &State) -> Gate {
    let who = |key: &KeyId, caller: &CallerId| {
        let tags = state.keys().get(key).map(|key| key.tags.clone()).unwrap_or_default();
        Arc::new(Who { caller: caller.clone(), key: *key, tags })
    };
    let last = state.last_signed().iter();
    let drains = state.drains().map(|(key, drain)| {
        let tags = state.keys().get(key).map(|key| key.tags.clone()).unwrap_or_default();
        (*key, Drained { from: drain.from, tags })
    });
    Gate::with(
        state.stops(),
        drains.collect(),
        last.map(|((key, caller), (at, _))| (who(key, caller), *at)),
    )
}

fn points(state: &State) -> Result<BTreeMap<KeyId, Arc<PublicPoint>>, StartError> {
    let made = state.keys().iter().filter_map(|(id, key)| Some((id, key.made.as_ref()?)));
    let parse = |(id, made): (&KeyId, &portcullis_policy::state::Made)| {
        let bytes = hex::decode(&made.point).map_err(|_| StartError::Point(*id))?;
        let point = PublicPoint::try_from(&bytes[..]).map_err(|_| StartError::Point(*id))?;
        Ok((*id, Arc::new(point)))
    };
    made.map(parse).collect()
}

fn start_record(state: &State, clock: &Clock, boot: String, epoch: Epoch) -> record::Started {
    record::Started {
        believed: Some(clock.believed()),
        boot,
        boot_clock: clock::boot(),
        cut: 0,
        epoch,
        lost: state.unreported().iter().copied().collect(),
        version: env!("CARGO_PKG_VERSION").into(),
        wall_clock: clock::wall(),
    }
}

const NO_FILE: &str = "the file of checkpoints was taken away, or left out of what was restored: \
                       nothing says whether records are missing at the journal's end";
