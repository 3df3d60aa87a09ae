//! The control plane: translates between the wire and people's commands. Holds no rule but who may
//! ask.

use std::sync::Arc;

use portcullis_policy::book::Book;
use portcullis_policy::id::{BookHash, Sequence, VaultId};
use portcullis_policy::record::{Actor, Adopted, Frozen, Role};
use portcullis_policy::stops::Scope;
use portcullis_proto::v1::control_service_server::ControlService;
use portcullis_proto::v1::key_service_server::KeyService;
use portcullis_proto::v1::{
    AdoptBookRequest, AdoptBookResponse, BookFault, CheckBookRequest, CheckBookResponse,
    CreateKeyRequest, CreateKeyResponse, FreezeRequest, FreezeResponse, FreezeScope,
    GetBookRequest, GetBookResponse, GetCheckpointRequest, GetCheckpointResponse, GetKeyRequest,
    GetKeyResponse, GetStatusRequest, GetStatusResponse, Key, ListKeysRequest, ListKeysResponse,
    ProveRecordRequest, ProveRecordResponse, ReadJournalRequest, ReportDrillRequest,
    ReportDrillResponse, ReportPricesRequest, ReportPricesResponse, ReportSettlementRequest,
    ReportSettlementResponse, freeze_scope,
};
use tonic::{Request, Response, Status};

use super::key_entry::{self, Seen};
use super::readers::{Pages, Readers};
use super::receipts::{Proved, Receipts};
use super::reports;
use super::signing::peer;
use super::unsettled;
use crate::clock::{self, Clock};
use crate::fencer::Fencer;
use crate::health::Health;
use crate::keys::{KeyOrder, Keys};
use crate::refusal::Refusal;
use crate::roster::{self, Present};
use crate::sequencer::{Report, Sequencer, View};
use crate::throttle::Acts;
use crate::words;

/// Serves people.
#[derive(Clone)]
pub struct Control {
    /// The one order.
    pub sequencer: Sequencer,
    /// Makes keys, and knows which are unusable.
    pub keys: Arc<Keys>,
    /// Keeps the token in step with what is stopped.
    pub fencer: Arc<Fencer>,
    /// Durable records, for reading.
    pub readers: Readers,
    /// Proofs of what is in the journal.
    pub receipts: Receipts,
    /// Whether signatures can be made, and what needs attention.
    pub health: Arc<Health>,
    /// Time as the journal has it.
    pub clock: Arc<Clock>,
    /// How often one person changes something.
    pub acts: Acts,
    /// How often one person has a book checked: it takes as long, and changes nothing.
    pub checks: Acts,
}

impl Control {
    fn present<T>(&self, request: &Request<T>, roles: &[Role]) -> Result<Present, Status> {
        let peer = peer(request)?;
        Ok(roster::person(&self.sequencer.view(), peer.identity().name(), roles)?)
    }

    /// The same, of somebody who is not suspended.
    fn active<T>(&self, request: &Request<T>, roles: &[Role]) -> Result<Present, Status> {
        let peer = peer(request)?;
        Ok(roster::active(&self.sequencer.view(), peer.identity().name(), roles)?)
    }

    /// What keys are told with.
    async fn seen<'a>(&'a self, view: &'a View) -> Result<Seen<'a>, Refusal> {
        let (uses, now) = (self.sequencer.uses().await?, self.clock.now().sure);
        Ok(Seen { view, keys: &self.keys, uses, now })
    }

    fn scope(&self, scope: Option<FreezeScope>) -> Result<Scope, Refusal> {
        let view = self.sequencer.view();
        let missing = |problem: &str| Refusal::BadField { field: "scope", problem: problem.into() };
        let scope = scope.and_then(|scope| scope.scope);
        match scope.ok_or_else(|| missing("is missing: name a key, a caller, a tag, or all"))? {
            freeze_scope::Scope::Key(name) => match view.key_named(&name) {
                Some((id, _)) => Ok(Scope::Key(id)),
                None => Err(Refusal::NotFound { kind: "key", name }),
            },
            freeze_scope::Scope::Caller(name) => {
                // A caller that the book does not know can be stopped all the same: it may come.
                let caller = name.parse().map_err(|error| Refusal::bad_name("caller", &error))?;
                Ok(Scope::Caller(caller))
            }
            freeze_scope::Scope::Tag(name) => {
                let tag = name.parse().map_err(|error| Refusal::bad_name("tag", &error))?;
                let known = view.keys.values().any(|key| key.tags.contains(&tag));
                if known {
                    Ok(Scope::Tag(tag))
                } else {
                    Err(Refusal::NotFound { kind: "tag", name })
                }
            }
            freeze_scope::Scope::All(true) => Ok(Scope::All),
            freeze_scope::Scope::All(false) => Err(missing("all must be true")),
        }
    }
}

#[tonic::async_trait]
impl KeyService for Control {
    async fn create_key(
        &self,
        request: Request<CreateKeyRequest>,
    ) -> Result<Response<CreateKeyResponse>, Status> {
        let present = self.active(&request, &[Role::Operator])?;
        let order = KeyOrder::parse(request.into_inner(), present.person())?;
        // Work on the token belongs to the server: hanging up must not leave half a key.
        let keys = self.keys.clone();
        let made = tokio::spawn(async move { keys.create(order).await });
        let id = made.await.map_err(|_| Refusal::ShuttingDown)??;
        let view = self.sequencer.view();
        let seen = self.seen(&view).await?;
        let made = view.keys.get(&id).map(|key| seen.entry(id, key));
        Ok(Response::new(CreateKeyResponse { key: made }))
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        let _present = self.present(&request, ANYBODY)?;
        let view = self.sequencer.view();
        let seen = self.seen(&view).await?;
        let mut keys: Vec<Key> = view.keys.iter().map(|(id, key)| seen.entry(*id, key)).collect();
        keys.sort_by(|left, right| left.label.cmp(&right.label));
        Ok(Response::new(ListKeysResponse { keys }))
    }

    async fn get_key(
        &self,
        request: Request<GetKeyRequest>,
    ) -> Result<Response<GetKeyResponse>, Status> {
        let _present = self.present(&request, ANYBODY)?;
        let (view, name) = (self.sequencer.view(), request.into_inner().key);
        let Some((id, key)) = view.key_named(&name) else {
            return Err(Refusal::NotFound { kind: "key", name }.into());
        };
        let seen = self.seen(&view).await?;
        Ok(Response::new(GetKeyResponse { key: Some(seen.entry(id, key)) }))
    }
}

#[tonic::async_trait]
impl ControlService for Control {
    type ReadJournalStream = Pages;

    async fn freeze(
        &self,
        request: Request<FreezeRequest>,
    ) -> Result<Response<FreezeResponse>, Status> {
        let present = self.present(&request, &[Role::Security])?;
        let FreezeRequest { scope, reason } = request.into_inner();
        let scope = self.scope(scope)?;
        let reason = words::reason_of_a_stop(&reason);
        tracing::warn!(person = %present.person(), %scope, "freeze");
        let frozen = Frozen { by: Actor::Person(present.person().clone()), reason, scope };
        // Once begun it goes on, whoever hangs up.
        let sequencer = self.sequencer.clone();
        let fencer = self.fencer.clone();
        let frozen = tokio::spawn(async move {
            let (view, scope) = (sequencer.view(), frozen.scope.clone());
            let answer = sequencer.freeze(frozen).await;
            if answer.sequence.is_none() {
                fencer.fence_unrecorded(&view, &scope).await;
            }
            answer
        });
        let frozen = frozen.await.map_err(|_| Refusal::ShuttingDown)?;
        Ok(Response::new(FreezeResponse {
            sequence: frozen.sequence.unwrap_or_default().0,
            last_released_sequence: frozen.last_released.0,
            withheld: frozen.withheld,
            recorded: frozen.sequence.is_some(),
            unsettled: frozen.unsettled.newest.iter().map(unsettled::entry).collect(),
            unsettled_more: frozen.unsettled.more,
            unsettled_incomplete: frozen.unsettled.incomplete,
        }))
    }

    async fn adopt_book(
        &self,
        request: Request<AdoptBookRequest>,
    ) -> Result<Response<AdoptBookResponse>, Status> {
        let present = self.active(&request, &[Role::Operator, Role::Security])?;
        let (by, book) = (present.person().clone(), request.into_inner().book);
        self.acts.admit(&by, book.len())?;
        let hash = BookHash::of(&book);
        let (sequence, changes) = self.sequencer.adopt(Adopted { book, by }).await?;
        let (sequence, book_hash) = (sequence.0, hash.0.to_vec());
        Ok(Response::new(AdoptBookResponse { sequence, book_hash, changes }))
    }

    async fn report_settlement(
        &self,
        request: Request<ReportSettlementRequest>,
    ) -> Result<Response<ReportSettlementResponse>, Status> {
        let by = self.present(&request, &[Role::Watcher])?.person().clone();
        let settled = reports::settled(&self.sequencer.view(), by, &request.into_inner())?;
        let sequence = self.sequencer.report(Report::Settled(settled)).await?.0;
        Ok(Response::new(ReportSettlementResponse { sequence }))
    }

    async fn report_prices(
        &self,
        request: Request<ReportPricesRequest>,
    ) -> Result<Response<ReportPricesResponse>, Status> {
        let by = self.present(&request, &[Role::Pricer])?.person().clone();
        let priced = reports::priced(&self.sequencer.view(), by, request.into_inner())?;
        let sequence = self.sequencer.report(Report::Priced(priced)).await?.0;
        Ok(Response::new(ReportPricesResponse { sequence }))
    }

    async fn report_drill(
        &self,
        request: Request<ReportDrillRequest>,
    ) -> Result<Response<ReportDrillResponse>, Status> {
        let by = self.active(&request, &[Role::Security])?.person().clone();
        let drilled = reports::drilled(&self.sequencer.view(), by, request.into_inner())?;
        let sequence = self.sequencer.report(Report::Drilled(Box::new(drilled))).await?.0;
        Ok(Response::new(ReportDrillResponse { sequence }))
    }

    async fn check_book(
        &self,
        request: Request<CheckBookRequest>,
    ) -> Result<Response<CheckBookResponse>, Status> {
        let present = self.present(&request, ANYBODY)?;
        let book = request.into_inner().book;
        self.checks.admit(present.person(), book.len())?;
        let checked = self.sequencer.check(move |view| checked(&book, view)).await?;
        Ok(Response::new(checked))
    }

    async fn get_book(
        &self,
        request: Request<GetBookRequest>,
    ) -> Result<Response<GetBookResponse>, Status> {
        let _present = self.present(&request, ANYBODY)?;
        let view = self.sequencer.view();
        Ok(Response::new(GetBookResponse {
            book: view.book.text().to_owned(),
            book_hash: view.book.hash().0.to_vec(),
            sequence: view.adopted.0,
        }))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let present = self.present(&request, ANYBODY)?;
        let view = self.sequencer.view();
        let head = *self.sequencer.head().borrow();
        let blocking = self.health.blocking();
        let serving = blocking.is_empty();
        let troubles = [blocking, self.health.attention()].concat();
        let open = self.sequencer.figures().open.load(std::sync::atomic::Ordering::Relaxed);
        let VaultId(vault) = view.vault;
        let (now, wall) = (self.clock.now(), clock::wall());
        Ok(Response::new(GetStatusResponse {
            vault_id: vault.to_vec(),
            environment: view.environment.name().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            sequence: head.sequence.0,
            root: head.root.to_vec(),
            book_hash: view.book.hash().0.to_vec(),
            frozen: view.stops.iter().map(wire_scope).collect(),
            keys: u32::try_from(view.keys.len()).unwrap_or(u32::MAX),
            open_reservations: u32::try_from(open).unwrap_or(u32::MAX),
            serving,
            troubles,
            person: present.person().to_string(),
            sure_time_ms: now.sure.0,
            journal_free_bytes: 0,
            last_good_drill_ms: view.drills.last_good().map(|drill| drill.at.0),
            possible_time_ms: now.possible.0,
            wall_time_ms: wall.0,
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        let name = self.present(&request, ANYBODY)?.person().to_string();
        let old = request.into_inner().old_size;
        Ok(Response::new(self.receipts.checkpoint(&name, old).await?))
    }

    async fn prove_record(
        &self,
        request: Request<ProveRecordRequest>,
    ) -> Result<Response<ProveRecordResponse>, Status> {
        let name = self.present(&request, READERS)?.person().to_string();
        let at = Sequence(request.into_inner().sequence);
        let Proved { record, receipt } = self.receipts.receipt(&name, at, None).await?;
        Ok(Response::new(ProveRecordResponse { record, receipt }))
    }

    async fn read_journal(
        &self,
        request: Request<ReadJournalRequest>,
    ) -> Result<Response<Self::ReadJournalStream>, Status> {
        let present = self.present(&request, READERS)?;
        let person = present.person().to_string();
        let (sequencer, name) =
            (self.sequencer.clone(), peer(&request)?.identity().name().to_owned());
        let may_read = move || {
            roster::person(&sequencer.view(), &name, READERS).map(drop).map_err(Status::from)
        };
        let head = self.sequencer.head();
        let pages = self.readers.open(&person, head, request.into_inner(), may_read)?;
        Ok(Response::new(pages))
    }
}

/// What is wrong with a book, or what it would change.
fn checked(text: &str, view: &View) -> CheckBookResponse {
    let book_hash = BookHash::of(text).0.to_vec();
    let mut response = CheckBookResponse { book_hash, ..CheckBookResponse::default() };
    match Book::parse_for(text, view.environment) {
        Ok(new) => {
            let difference = view.book.difference(&new);
            let mut people = view.people.iter().map(|(_, member)| &member.person);
            let watched = people.any(|person| person.roles.contains(&Role::Watcher));
            if new.needs_watcher() && !watched {
                response.warnings.push(WATCHED_BY_NOBODY.into());
            }
            response.warnings.extend(key_entry::rules_in_vain(view, &new));
            response.wider = difference.wider;
            response.narrower = difference.narrower;
        }
        Err(faults) => {
            let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let faults = faults.0.into_iter().map(|fault| BookFault {
                line: place(fault.line),
                column: place(fault.column),
                message: fault.message,
                hint: fault.hint,
            });
            response.faults = faults.collect();
        }
    }
    response
}

fn wire_scope(scope: &Scope) -> FreezeScope {
    let scope = match scope {
        Scope::All => freeze_scope::Scope::All(true),
        Scope::Caller(caller) => freeze_scope::Scope::Caller(caller.to_string()),
        Scope::Key(key) => freeze_scope::Scope::Key(key.to_string()),
        Scope::Tag(tag) => freeze_scope::Scope::Tag(tag.to_string()),
    };
    FreezeScope { scope: Some(scope) }
}

/// Reading needs a role, and any will do.
const ANYBODY: &[Role] = &[Role::Operator, Role::Security, Role::Auditor, Role::Approver];

/// Who reads the journal.
const READERS: &[Role] = &[Role::Auditor, Role::Operator, Role::Security];

const WATCHED_BY_NOBODY: &str = "nobody here has the role watcher, so unsettled, outstanding and \
                                 nonce_ahead only fill up: what they bound comes to a stop";
