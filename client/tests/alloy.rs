//! The alloy signer, in the wallet that people use it in.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    reason = "test"
)]
#![cfg(feature = "alloy")]

mod support;

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use alloy_consensus::transaction::SignerRecoverable as _;
use alloy_consensus::{SignableTransaction, TxEip1559, TypedTransaction};
use alloy_network::{EthereumWallet, NetworkWallet, TxSigner as _};
use alloy_primitives::{Address, Signature, keccak256};
use portcullis_client::{AlloyError, Client, ClientConfig, KeyRef, PortcullisSigner};
use portcullis_proto::v1;
use portcullis_proto::v1::signing_service_server::{SigningService, SigningServiceServer};
use support::Fake;
use support::pki::Pki;
use support::transactions::{address, key, recipient, sign};
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// Signs any EIP-1559 transaction with one key, whichever was asked for, or parks it.
#[derive(Clone)]
struct OneKey {
    seed: u8,
    park: bool,
    ids: Arc<Mutex<Vec<String>>>,
}

impl OneKey {
    fn new(seed: u8) -> Self {
        Self { seed, park: false, ids: Arc::default() }
    }

    async fn connect(&self) -> (Client, Fake) {
        let pki = Pki::new("test");
        let fake = Fake::serve(&pki, Routes::new(SigningServiceServer::new(self.clone())));
        let me = pki.client("me");
        let config =
            ClientConfig::new(fake.endpoint(), pki.ca_file(), me.certificate, me.private_key);
        (Client::connect(&config).await.expect("connect"), fake)
    }

    fn answer(&self, preimage: &[u8]) -> v1::sign_response::Answer {
        if self.park {
            let missing = vec!["2 of treasury".to_owned()];
            let parked = v1::Parked { parked_id: "p-1".into(), missing, ..Default::default() };
            return v1::sign_response::Answer::Parked(parked);
        }
        let (digest, mut fields) = (keccak256(preimage), &preimage[1..]);
        let tx = <TxEip1559 as alloy_rlp::Decodable>::decode(&mut fields).expect("EIP-1559");
        let signature = sign(&key(self.seed), digest);
        let mut raw = Vec::new();
        let signed = tx.into_signed(signature);
        signed.eip2718_encode(&mut raw);
        v1::sign_response::Answer::Signed(v1::Signed {
            signature: signature.as_rsy().to_vec(),
            raw_transaction: raw,
            transaction_hash: signed.hash().to_vec(),
            digest: digest.to_vec(),
            sequence: 2,
            leaf_hash: vec![0; 32],
            receipt: None,
        })
    }
}

#[tonic::async_trait]
impl SigningService for OneKey {
    async fn get_receipt(
        &self,
        _: Request<v1::GetReceiptRequest>,
    ) -> Result<Response<v1::GetReceiptResponse>, Status> {
        Err(Status::unimplemented("no receipts"))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let request = request.into_inner();
        self.ids.lock().expect("lock").push(request.request_id);
        let Some(v1::sign_request::Input::Transaction(preimage)) = request.input else {
            return Err(Status::invalid_argument("not a transaction"));
        };
        Ok(Response::new(v1::SignResponse { answer: Some(self.answer(&preimage)) }))
    }

    type SignStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::SignStreamResponse, Status>> + Send>>;

    async fn sign_stream(
        &self,
        _: Request<Streaming<v1::SignStreamRequest>>,
    ) -> Result<Response<Self::SignStreamStream>, Status> {
        Err(Status::unimplemented("unary only"))
    }

    type WatchRequestStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchRequestResponse, Status>> + Send>>;

    async fn watch_request(
        &self,
        _: Request<v1::WatchRequestRequest>,
    ) -> Result<Response<Self::WatchRequestStream>, Status> {
        Err(Status::unimplemented("unary only"))
    }

    async fn withdraw_request(
        &self,
        _: Request<v1::WithdrawRequestRequest>,
    ) -> Result<Response<v1::WithdrawRequestResponse>, Status> {
        Err(Status::unimplemented("signs only"))
    }

    async fn list_signing_keys(
        &self,
        _: Request<v1::ListSigningKeysRequest>,
    ) -> Result<Response<v1::ListSigningKeysResponse>, Status> {
        let listed = v1::SigningKey {
            key_id: key_ref(1).id.to_string(),
            label: "hot".into(),
            address: key_ref(1).address.to_vec(),
            ..Default::default()
        };
        Ok(Response::new(v1::ListSigningKeysResponse { keys: vec![listed] }))
    }
}

#[tokio::test]
async fn a_wallet_signs_with_the_listed_key_and_the_sender_is_its_address() {
    let (client, _fake) = OneKey::new(1).connect().await;
    let signer = PortcullisSigner::for_address(client, key_ref(1).address).await.expect("signer");
    let wallet = EthereumWallet::from(signer);
    let signed = wallet_sign(&wallet, key_ref(1).address).await.expect("signed");
    assert_eq!(signed.recover_signer().expect("sender"), key_ref(1).address);
}

#[tokio::test]
async fn a_signature_by_another_address_never_reaches_the_wallet() {
    let (client, _fake) = OneKey::new(2).connect().await;
    let wallet = EthereumWallet::from(PortcullisSigner::new(client, key_ref(1)));
    let error = wallet_sign(&wallet, key_ref(1).address).await.expect_err("another signer");
    assert!(error.to_string().contains("not to be trusted"), "{error}");
}

#[tokio::test]
async fn a_wallet_asked_for_another_sender_asks_no_one() {
    let service = OneKey::new(1);
    let (client, _fake) = service.connect().await;
    let wallet = EthereumWallet::from(PortcullisSigner::new(client, key_ref(1)));
    assert!(wallet_sign(&wallet, Address::repeat_byte(9)).await.is_err());
    assert!(service.ids.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn an_address_that_is_not_listed_makes_no_signer() {
    let (client, _fake) = OneKey::new(1).connect().await;
    let missing = PortcullisSigner::for_address(client, Address::repeat_byte(9)).await;
    assert!(matches!(missing, Err(AlloyError::NoSuchKey { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_transaction_of_another_chain_is_refused_before_it_is_sent() {
    let service = OneKey::new(1);
    let (client, _fake) = service.connect().await;
    let signer = PortcullisSigner::new(client, key_ref(1)).with_chain_id(Some(5));
    let error = signer.sign_transaction(&mut transfer()).await.expect_err("another chain");
    assert!(matches!(error, alloy_signer::Error::TransactionChainIdMismatch { signer: 5, tx: 1 }));
    assert!(service.ids.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_parked_transaction_is_named_and_asking_again_is_the_same_request() {
    let service = OneKey { park: true, ..OneKey::new(1) };
    let (client, _fake) = service.connect().await;
    let signer = PortcullisSigner::new(client, key_ref(1));
    for _ in 0..2 {
        let error = signer.sign_transaction(&mut transfer()).await.expect_err("parked");
        let alloy_signer::Error::Other(error) = error else { panic!("{error:?}") };
        let parked = error.downcast_ref::<AlloyError>();
        assert!(matches!(parked, Some(AlloyError::Parked(_))), "{error:?}");
    }
    let other: &mut dyn SignableTransaction<Signature> = &mut TxEip1559 { nonce: 8, ..transfer() };
    assert!(signer.sign_transaction(other).await.is_err());
    let ids = service.ids.lock().expect("lock").clone();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
}

async fn wallet_sign(
    wallet: &EthereumWallet,
    sender: Address,
) -> alloy_signer::Result<alloy_consensus::TxEnvelope> {
    let tx = TypedTransaction::Eip1559(transfer());
    NetworkWallet::<alloy_network::Ethereum>::sign_transaction_from(wallet, sender, tx).await
}

fn transfer() -> TxEip1559 {
    TxEip1559 { chain_id: 1, nonce: 7, to: recipient().into(), ..Default::default() }
}

fn key_ref(seed: u8) -> KeyRef {
    let id = "000102030405060708090a0b0c0d0e0f".parse().expect("id");
    KeyRef { id, address: address(&key(seed)) }
}
