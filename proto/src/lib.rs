//! The wire contract: `portcullis.v1`, as generated from the `.proto` files beside this crate.
//!
//! The generated code is checked in, so building needs no protoc; `tests/wire.rs` regenerates it
//! and fails on a difference, and holds every change against the released contract.

/// Package `portcullis.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
pub mod v1 {
    include!("gen/portcullis.v1.rs");

    /// The serialised `FileDescriptorSet` of this package, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/portcullis.v1.binpb");
}

/// `ErrorInfo.domain` of every error this package's services return.
pub const ERROR_DOMAIN: &str = "portcullis.v1";
