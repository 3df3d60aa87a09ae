//! The checked-in code is what the `.proto` files say, and nothing that was released has changed.
//!
//! `PORTCULLIS_REGENERATE=1 cargo test -p portcullis-proto --release` writes the generated files
//! anew. `released/v1.binpb` is replaced by hand when a version is released.

#![expect(
    clippy::as_conversions,
    clippy::expect_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

#[test]
fn the_checked_in_code_is_generated_from_the_proto_files() {
    let set = compile();
    let out = tempfile::tempdir().expect("temporary folder");
    tonic_prost_build::configure()
        .out_dir(out.path())
        .compile_fds(set.clone())
        .expect("generating");
    let code = std::fs::read_to_string(out.path().join("portcullis.v1.rs")).expect("generated");
    let descriptors = set.encode_to_vec();

    if std::env::var_os("PORTCULLIS_REGENERATE").is_some() {
        std::fs::write(home().join("src/gen/portcullis.v1.rs"), &code).expect("write");
        std::fs::write(home().join("src/gen/portcullis.v1.binpb"), &descriptors).expect("write");
    }
    let hint = "run: PORTCULLIS_REGENERATE=1 cargo test -p portcullis-proto --release";
    let checked_in = std::fs::read_to_string(home().join("src/gen/portcullis.v1.rs")).expect(hint);
    assert!(checked_in == code, "generated code is stale; {hint}");
    let checked_in = std::fs::read(home().join("src/gen/portcullis.v1.binpb")).expect(hint);
    assert!(checked_in == descriptors, "descriptor set is stale; {hint}");
}

#[test]
fn what_was_released_can_still_be_spoken() {
    let released = std::fs::read(home().join("released/v1.binpb")).expect("released contract");
    let released = FileDescriptorSet::decode(released.as_slice()).expect("released contract");
    let broken = breaking_changes(&released, &compile());
    assert!(broken.is_empty(), "breaking changes of the wire:\n{}", broken.join("\n"));
}

#[test]
fn the_compatibility_check_notices_each_kind_of_break() {
    let released = compile();
    let breaks: [(&str, Damage); 5] = [
        ("renumbered", |set| message(set, "SignRequest").field[0].number = Some(99)),
        ("retyped", |set| {
            message(set, "SignRequest").field[1]
                .set_type(prost_types::field_descriptor_proto::Type::Bytes);
        }),
        ("removed", |set| {
            message(set, "SignRequest").field.remove(2);
        }),
        ("message gone", |set| message(set, "Parked").name = Some("Renamed".into())),
        ("method gone", |set| {
            let files = set.file.iter_mut();
            for service in files.flat_map(|file| file.service.iter_mut()) {
                service.method.remove(0);
            }
        }),
    ];
    for (name, damage) in breaks {
        let mut changed = released.clone();
        damage(&mut changed);
        assert!(!breaking_changes(&released, &changed).is_empty(), "{name} was not noticed");
    }
    assert!(breaking_changes(&released, &released).is_empty());
}

/// One way to break the wire.
type Damage = fn(&mut FileDescriptorSet);

/// Whatever a peer built against `old` could trip over in `new`, a line each.
fn breaking_changes(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let (old, new) = (surface(old), surface(new));
    let gone_or_changed = old.iter().filter(|(name, shape)| new.get(*name) != Some(*shape));
    gone_or_changed
        .map(|(name, shape)| format!("{name}: was {shape}, is {:?}", new.get(name)))
        .collect()
}

/// Every name a peer relies on, with what it relies on about it.
fn surface(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for file in set.file.iter().filter(|file| file.package() == "portcullis.v1") {
        for message in &file.message_type {
            message_surface(message, &mut names);
        }
        for one in &file.enum_type {
            enum_surface(one, &mut names);
        }
        for service in &file.service {
            for method in &service.method {
                let (input, output) = (method.input_type(), method.output_type());
                let streams = (method.client_streaming(), method.server_streaming());
                let name = format!("rpc {}.{}", service.name(), method.name());
                names.insert(name, format!("{input} -> {output} {streams:?}"));
            }
        }
    }
    names
}

fn message_surface(message: &DescriptorProto, names: &mut BTreeMap<String, String>) {
    names.insert(format!("message {}", message.name()), "a message".into());
    for field in &message.field {
        let oneof = field.oneof_index.and_then(|at| message.oneof_decl.get(at as usize));
        let shape = format!(
            "number {} type {:?} {:?} {} oneof {:?}",
            field.number(),
            field.r#type(),
            field.label(),
            field.type_name(),
            oneof.map(|one| one.name()),
        );
        names.insert(format!("field {}.{}", message.name(), field.name()), shape);
    }
}

fn enum_surface(one: &EnumDescriptorProto, names: &mut BTreeMap<String, String>) {
    for value in &one.value {
        let name = format!("enum {}.{}", one.name(), value.name());
        names.insert(name, value.number().to_string());
    }
}

fn message<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut DescriptorProto {
    let mut messages = set.file.iter_mut().flat_map(|file| file.message_type.iter_mut());
    messages.find(|message| message.name() == name).expect("message")
}

fn compile() -> FileDescriptorSet {
    let files =
        ["signing", "control", "approvals"].map(|name| format!("portcullis/v1/{name}.proto"));
    let mut compiler = protox::Compiler::new([home()]).expect("compiler");
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files).expect("the .proto files compile");
    let mut set = compiler.file_descriptor_set();
    // Comments belong in the generated code, absolute paths in neither.
    set.file.sort_by(|left, right| left.name().cmp(right.name()));
    set
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}
