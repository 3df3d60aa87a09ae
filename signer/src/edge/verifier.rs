//! Verifies client certificates against the CAs that are valid at that moment.
//!
//! webpki takes an anchor as it is and never looks at its dates: a CA that has expired, and whose
//! key may be anywhere by now, would be trusted for ever. Here it is none from its last second on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use super::files::TrustError;

/// A CA whose clients may connect, while it is valid.
pub(super) struct Anchor {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) subject: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Anchor {
    pub(super) fn is_current(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// A verifier that trusts each anchor only in its time.
pub(super) struct DatedVerifier {
    anchors: Arc<Vec<Anchor>>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    /// Of all anchors; verifies signatures, which no date changes.
    whole: Arc<dyn ClientCertVerifier>,
    current: ArcSwap<Current>,
}

/// A verifier of the anchors that are valid at some moment.
struct Current {
    /// In the order of the anchors: whether each is one of them.
    valid: Vec<bool>,
    /// `None` if none is.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl DatedVerifier {
    pub(super) fn new(
        anchors: Arc<Vec<Anchor>>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        now: SystemTime,
    ) -> Result<Self, TrustError> {
        let whole = webpki_verifier(anchors.iter(), crls.clone())?;
        let valid: Vec<bool> = anchors.iter().map(|_| true).collect();
        let current = Current { valid, verifier: Some(Arc::clone(&whole)) };
        let verifier = Self { anchors, crls, whole, current: ArcSwap::from_pointee(current) };
        verifier.at(now)?;
        Ok(verifier)
    }

    /// The anchors, whatever their dates.
    pub(super) fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// The verifier of the anchors valid at `now`; made anew only when another set of them is.
    fn at(&self, now: SystemTime) -> Result<Option<Arc<dyn ClientCertVerifier>>, TrustError> {
        let current = self.current.load();
        let unchanged = self
            .anchors
            .iter()
            .map(|anchor| anchor.is_current(now))
            .eq(current.valid.iter().copied());
        if unchanged {
            return Ok(current.verifier.clone());
        }
        let valid: Vec<bool> = self.anchors.iter().map(|anchor| anchor.is_current(now)).collect();
        for anchor in self.anchors.iter().filter(|anchor| !anchor.is_current(now)) {
            let subject = &anchor.subject;
            tracing::warn!(subject, "a client CA has expired or is not valid yet: not trusted");
        }
        let mut anchors = self.anchors.iter().filter(|anchor| anchor.is_current(now)).peekable();
        let verifier = match anchors.peek() {
            Some(_) => Some(webpki_verifier(anchors, self.crls.clone())?),
            None => None,
        };
        self.current.store(Arc::new(Current { valid, verifier: verifier.clone() }));
        Ok(verifier)
    }
}

/// webpki's own verifier, which looks at no anchor's dates.
pub(super) fn webpki_verifier<'a>(
    anchors: impl Iterator<Item = &'a Anchor>,
    crls: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
    let mut store = RootCertStore::empty();
    for anchor in anchors {
        // `TrustFiles::anchors` has found that it can be added.
        store.add(anchor.certificate.clone()).map_err(TrustError::Tls)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    if !crls.is_empty() {
        // A status that no CRL tells is an error by default; an expired CRL is not.
        builder = builder.with_crls(crls).enforce_revocation_expiration();
    }
    builder.build().map_err(TrustError::Verifier)
}

impl ClientCertVerifier for DatedVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.whole.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let since_1970 = Duration::from_secs(now.as_secs());
        let time =
            SystemTime::UNIX_EPOCH.checked_add(since_1970).ok_or(Error::FailedToGetCurrentTime)?;
        let verifier = self.at(time).map_err(|error| Error::General(error.to_string()))?;
        // With no CA left nobody can have issued it.
        let verifier = verifier.ok_or(CertificateError::UnknownIssuer)?;
        verifier.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.whole.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.whole.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.whole.supported_verify_schemes()
    }
}

impl std::fmt::Debug for DatedVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatedVerifier")
    }
}
