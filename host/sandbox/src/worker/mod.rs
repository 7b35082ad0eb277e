//! The untrusted tier: plugins whose instances live in worker processes behind walls of the kernel.
//!
//! A worker belongs to one tenant and one publisher, and holds wasmtime, instances and their handles
//! (`child`). The host starts it, watches it and kills it (`process`, `pool`), makes calls of plugins in it
//! (`remote`) and answers the few host calls that leave it (`link`, `service`). They speak in packets over a socket
//! (`channel`, `messages`, `wire`), and long messages lie in memory that the host made (`shared_file`).
//!
//! What can leave a worker: plan calls, calls of other models, items of a stream, reads of granted files, log
//! messages, and its answers. Everything else a guest does ends inside. The host never maps memory that a worker can write.

mod cgroup;
mod channel;
pub(crate) mod child;
pub(crate) mod link;
pub(crate) mod messages;
pub(crate) mod pool;
pub(crate) mod process;
pub(crate) mod remote;
pub(crate) mod service;
mod shared_file;
pub(crate) mod wire;
