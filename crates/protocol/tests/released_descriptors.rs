//! Everything that the released Python package says about the wire must hold for our `.proto` files.
//!
//! A descriptor set becomes a set of facts, one line of text each. Ours may have more facts; a fact of theirs
//! that ours lacks would be a peer that does not understand us.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{collections::BTreeSet, process::Command};

use jumpstarter_peers::NEWEST;
use jumpstarter_protocol::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};

/// The packages of Jumpstarter; those of Google are not ours to promise.
const PACKAGES: [&str; 2] = ["jumpstarter.v1", "jumpstarter.client.v1"];

#[test]
fn every_fact_of_the_released_package_holds() {
    let theirs = facts(&released());
    // A change of the package's layout must not turn this test into one of the empty set.
    assert!(theirs.len() > 200, "only {} facts read from the released package", theirs.len());
    for known in
        ["method jumpstarter.v1.RouterService/Stream", "method jumpstarter.client.v1.ClientService/CreateLease"]
    {
        assert!(theirs.iter().any(|fact| fact.starts_with(known)), "no `{known}` in the released package");
    }
    let missing = missing(&theirs, &facts(FILE_DESCRIPTOR_SET));
    assert!(missing.is_empty(), "ours lacks:\n{}", missing.join("\n"));
}

/// Damage done to a descriptor set.
type Change = fn(&mut FileDescriptorSet);

#[test]
fn each_kind_of_difference_is_noticed() {
    let ours = facts(FILE_DESCRIPTOR_SET);
    let cases: [(&str, Change); 9] = [
        ("field jumpstarter.v1.DialRequest.1", |set| {
            message(set, "DialRequest").field[0].number = Some(9);
        }),
        ("field jumpstarter.v1.DialRequest.1", |set| {
            message(set, "DialRequest").field[0].set_type(Type::Bytes);
        }),
        ("field jumpstarter.v1.DialRequest.1", |set| {
            message(set, "DialRequest").field[0].name = Some("lease".to_owned());
        }),
        ("field jumpstarter.v1.StatusResponse.2", |set| {
            let found = message(set, "StatusResponse");
            found.field.iter_mut().for_each(|field| {
                field.proto3_optional = None;
                field.oneof_index = None;
            });
            found.oneof_decl.clear();
        }),
        ("field jumpstarter.v1.RegisterRequest.2", |set| {
            let field = &mut message(set, "RegisterRequest").field[1];
            field.set_label(prost_types::field_descriptor_proto::Label::Optional);
        }),
        ("message jumpstarter.v1.ReleaseLeaseResponse", |set| {
            message(set, "ReleaseLeaseResponse").name = Some("Released".to_owned());
            method(set, "ReleaseLease").output_type = Some(".jumpstarter.v1.Released".to_owned());
        }),
        ("method jumpstarter.v1.ControllerService/Listen", |set| {
            method(set, "Listen").server_streaming = Some(false);
        }),
        ("method jumpstarter.v1.ControllerService/Dial", |set| {
            method(set, "Dial").name = Some("Call".to_owned());
        }),
        ("enum jumpstarter.v1.ExporterStatus = 7", |set| {
            let values = set.file.iter_mut().flat_map(|file| &mut file.enum_type);
            for value in values.flat_map(|found| &mut found.value).filter(|value| value.number == Some(7)) {
                value.number = Some(70);
            }
        }),
    ];
    for (expected, change) in cases {
        let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        change(&mut set);
        let missing = missing(&ours, &facts(&set.encode_to_vec()));
        assert!(missing.iter().any(|fact| fact.starts_with(expected)), "{expected}: found {missing:?}");
    }
}

/// The descriptors of the installed release, straight from its Python modules.
fn released() -> Vec<u8> {
    let venv = NEWEST.find().unwrap_or_else(|error| panic!("{error}"));
    let output =
        Command::new(venv.program("python")).args(["-c", include_str!("dump_descriptors.py")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn missing(wanted: &BTreeSet<String>, present: &BTreeSet<String>) -> Vec<String> {
    wanted.difference(present).cloned().collect()
}

/// All that a descriptor set says about our packages.
fn facts(set: &[u8]) -> BTreeSet<String> {
    let pool = DescriptorPool::decode(set).unwrap();
    let ours = |package: &str| PACKAGES.contains(&package);
    let services = pool.services().filter(|service| ours(service.package_name()));
    let messages = pool.all_messages().filter(|message| ours(message.package_name()));
    let enums = pool.all_enums().filter(|found| ours(found.package_name()));
    services
        .flat_map(|service| service_facts(&service))
        .chain(messages.flat_map(|message| message_facts(&message)))
        .chain(enums.flat_map(|found| enum_facts(&found)))
        .collect()
}

fn service_facts(service: &ServiceDescriptor) -> Vec<String> {
    let mut facts = vec![format!("service {}", service.full_name())];
    for method in service.methods() {
        let name = format!("method {}/{}", service.full_name(), method.name());
        facts.push(format!(
            "{name}: {}{} → {}{}",
            stream(method.is_client_streaming()),
            method.input().full_name(),
            stream(method.is_server_streaming()),
            method.output().full_name(),
        ));
        facts.extend(options(&name, &method.options()));
    }
    facts
}

fn stream(streaming: bool) -> &'static str {
    if streaming { "stream " } else { "" }
}

fn message_facts(message: &MessageDescriptor) -> Vec<String> {
    let mut facts = vec![format!("message {}", message.full_name())];
    facts.extend(options(&format!("message {}", message.full_name()), &message.options()));
    for field in message.fields() {
        let name = format!("field {}.{}", message.full_name(), field.number());
        facts.push(format!("{name}: {}", field_type(&field)));
        facts.extend(options(&name, &field.options()));
    }
    facts
}

fn field_type(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(found) => found.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    let oneof = field
        .containing_oneof()
        .map(|oneof| if oneof.is_synthetic() { "optional".to_owned() } else { format!("oneof {}", oneof.name()) });
    format!(
        "{} ({}) {kind} {:?} presence={} map={} packed={} {}",
        field.name(),
        field.json_name(),
        field.cardinality(),
        field.supports_presence(),
        field.is_map(),
        field.is_packed(),
        oneof.unwrap_or_default(),
    )
}

fn enum_facts(found: &EnumDescriptor) -> Vec<String> {
    let values = found.values();
    values.map(|value| format!("enum {} = {}: {}", found.full_name(), value.number(), value.name())).collect()
}

/// Annotations for gateways and generators: HTTP routes, signatures, resource patterns, field behaviour.
fn options(of: &str, options: &DynamicMessage) -> Vec<String> {
    let extensions = options.extensions();
    extensions.map(|(extension, value)| format!("{of} [{}] {value}", extension.full_name())).collect()
}

fn message<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut prost_types::DescriptorProto {
    let mut messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
    messages.find(|message| message.name() == name).unwrap()
}

fn method<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut prost_types::MethodDescriptorProto {
    let mut methods = set.file.iter_mut().flat_map(|file| &mut file.service).flat_map(|service| &mut service.method);
    methods.find(|method| method.name() == name).unwrap()
}
