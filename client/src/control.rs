//! The control plane's client: keys, the book, the stop, the journal. For operators' tools, with a
//! person's certificate. What people decide together is in `approvals.rs`.
//!
//! Thin: answers come in the wire's own types, with what the contract promises unwrapped.

use portcullis_proto::v1;
use portcullis_proto::v1::approval_service_client::ApprovalServiceClient;
use portcullis_proto::v1::control_service_client::ControlServiceClient;
use portcullis_proto::v1::freeze_scope::Scope;
use portcullis_proto::v1::key_service_client::KeyServiceClient;
use portcullis_proto::v1::people_service_client::PeopleServiceClient;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::config::ClientConfig;
use crate::error::{CallError, ConnectError};
use crate::transport::Transport;

/// A connection to the control plane. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct ControlClient {
    pub(crate) transport: Transport,
    pub(crate) approvals: ApprovalServiceClient<Channel>,
    pub(crate) people: PeopleServiceClient<Channel>,
    keys: KeyServiceClient<Channel>,
    control: ControlServiceClient<Channel>,
}

/// Makes the call, with its deadline, and tells refusals from lost connections.
macro_rules! call {
    ($self:ident . $service:ident . $method:ident ( $message:expr )) => {{
        let request = $self.transport.request($message);
        let reply = $self.$service.clone().$method(request).await;
        reply.map(tonic::Response::into_inner).map_err(|status| $self.transport.error(&status))
    }};
}
pub(crate) use call;

impl ControlClient {
    /// Connects with mutual TLS. A connection that is lost later is opened anew by the next call.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used, or the service cannot be reached. A client certificate
    /// that the service refuses shows up only at the first call; see the crate's documentation.
    pub async fn connect(config: &ClientConfig) -> Result<Self, ConnectError> {
        let transport = Transport::open(config).await?;
        let channel = &transport.channel;
        let keys = KeyServiceClient::new(channel.clone());
        let control =
            ControlServiceClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let approvals =
            ApprovalServiceClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let people =
            PeopleServiceClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { keys, control, approvals, people, transport })
    }

    /// Makes a key in the token.
    ///
    /// # Errors
    ///
    /// As every call: refused, unreachable, or an incomplete answer.
    pub async fn create_key(&self, request: v1::CreateKeyRequest) -> Result<v1::Key, CallError> {
        let reply: v1::CreateKeyResponse = call!(self.keys.create_key(request))?;
        reply.key.ok_or(CallError::Incomplete { part: "key" })
    }

    /// All keys, in order of label.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn list_keys(&self) -> Result<Vec<v1::Key>, CallError> {
        Ok(call!(self.keys.list_keys(v1::ListKeysRequest {}))?.keys)
    }

    /// One key, by id or label.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn key(&self, id_or_label: &str) -> Result<v1::Key, CallError> {
        let request = v1::GetKeyRequest { key: id_or_label.to_owned() };
        let reply: v1::GetKeyResponse = call!(self.keys.get_key(request))?;
        reply.key.ok_or(CallError::Incomplete { part: "key" })
    }

    /// Stops signing in a scope. When this returns, nothing in scope is released any more.
    ///
    /// # Errors
    ///
    /// As every call. If it is `Unreachable`, the stop may hold or not: ask again, it does no harm.
    pub async fn freeze(
        &self,
        scope: Scope,
        reason: &str,
    ) -> Result<v1::FreezeResponse, CallError> {
        let scope = Some(v1::FreezeScope { scope: Some(scope) });
        call!(self.control.freeze(v1::FreezeRequest { scope, reason: reason.to_owned() }))
    }

    /// Tells what is mined of a key on a chain. Role: watcher.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn report_settlement(
        &self,
        report: v1::ReportSettlementRequest,
    ) -> Result<v1::ReportSettlementResponse, CallError> {
        call!(self.control.report_settlement(report))
    }

    /// Tells what things cost, for limits in USD. Role: pricer.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn report_prices(
        &self,
        report: v1::ReportPricesRequest,
    ) -> Result<v1::ReportPricesResponse, CallError> {
        call!(self.control.report_prices(report))
    }

    /// Tells what a drill of the stop came to. Role: security.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn report_drill(
        &self,
        report: v1::ReportDrillRequest,
    ) -> Result<v1::ReportDrillResponse, CallError> {
        call!(self.control.report_drill(report))
    }

    /// Adopts a book: its TOML text.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn adopt_book(&self, book: String) -> Result<v1::AdoptBookResponse, CallError> {
        call!(self.control.adopt_book(v1::AdoptBookRequest { book }))
    }

    /// Says what adopting would say, and changes nothing. A faulty book is an answer.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn check_book(&self, book: String) -> Result<v1::CheckBookResponse, CallError> {
        call!(self.control.check_book(v1::CheckBookRequest { book }))
    }

    /// The book in force.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn book(&self) -> Result<v1::GetBookResponse, CallError> {
        call!(self.control.get_book(v1::GetBookRequest {}))
    }

    /// State, health and figures.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn status(&self) -> Result<v1::GetStatusResponse, CallError> {
        call!(self.control.get_status(v1::GetStatusRequest {}))
    }

    /// The newest signed checkpoint; and that it continues that of an older size, if not 0.
    /// Unchecked, as it came.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn checkpoint(&self, old_size: u64) -> Result<v1::GetCheckpointResponse, CallError> {
        call!(self.control.get_checkpoint(v1::GetCheckpointRequest { old_size }))
    }

    /// A record and its receipt. Unchecked, as they came.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn prove_record(&self, sequence: u64) -> Result<v1::ProveRecordResponse, CallError> {
        call!(self.control.prove_record(v1::ProveRecordRequest { sequence }))
    }

    /// Reads the journal from a sequence number on. With `follow` it stays open, without deadline.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn read_journal(
        &self,
        request: v1::ReadJournalRequest,
    ) -> Result<Journal, CallError> {
        let mut control = self.control.clone();
        let opened = self.transport.within_deadline(control.read_journal(request)).await?;
        Ok(Journal { records: opened.into_inner(), transport: self.transport.clone() })
    }
}

/// The journal as it is being read.
#[derive(Debug)]
pub struct Journal {
    records: Streaming<v1::ReadJournalResponse>,
    transport: Transport,
}

impl Journal {
    /// The next few records, or `None` at the end.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn next(&mut self) -> Result<Option<v1::ReadJournalResponse>, CallError> {
        self.records.message().await.map_err(|status| self.transport.error(&status))
    }
}

/// Largest answer read, in bytes: a batch of journal records, or a book with a hundred thousand
/// addresses.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
