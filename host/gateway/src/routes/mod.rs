//! One file a family of routes. A handler that does work takes an
//! [`Admitted`](crate::admission::Admitted); only health does without.

pub(crate) mod admin_keys;
pub(crate) mod admin_server;
mod control_body;
pub(crate) mod metrics;
mod model_path;
pub(crate) mod oip_config;
pub(crate) mod oip_generate;
pub(crate) mod oip_health;
pub(crate) mod oip_infer;
pub(crate) mod oip_metadata;
pub(crate) mod oip_repository;
pub(crate) mod oip_settings;
pub(crate) mod oip_shared_memory;
pub(crate) mod oip_statistics;
pub(crate) mod openai_embeddings;
pub(crate) mod openai_models;
pub(crate) mod openai_text;
mod openai_text_wire;
pub(crate) mod openapi;

use control_body::control_body;
pub(crate) use model_path::model_id;
