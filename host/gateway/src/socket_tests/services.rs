//! The gRPC services of stock clients, as their compiled descriptors list them.
//! `tests/e2e/clients/grpc_services.py` takes `services.binpb` out of the clients.

use prost::Message;
use std::collections::BTreeSet;

/// A method that some client can call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Method {
    /// With its package.
    pub(super) service: String,
    pub(super) name: String,
}

/// Every method of every client, once.
pub(super) fn methods() -> BTreeSet<Method> {
    let files = FileDescriptorSet::decode(&include_bytes!("../grpc/services.binpb")[..]).unwrap();
    assert!(files.file.len() >= 3, "Triton's, KServe's and the protocol's own health service");
    let services = files.file.into_iter().flat_map(|FileDescriptor { package, service }| {
        service.into_iter().map(move |service| (format!("{package}.{}", service.name), service))
    });
    let methods = services.flat_map(|(name, service)| {
        let of = move |method: Named| Method { service: name.clone(), name: method.name };
        service.method.into_iter().map(of)
    });
    methods.collect()
}

/// `google.protobuf.FileDescriptorSet`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
struct FileDescriptorSet {
    #[prost(message, repeated, tag = "1")]
    file: Vec<FileDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct FileDescriptor {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}
