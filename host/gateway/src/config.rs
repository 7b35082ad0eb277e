//! Settings of the gateway. Each limit has a default that suits one machine on a private network;
//! nothing that a client can grow is without one.

use crate::batch::BatchConfig;
use crate::flow::FlowConfig;
use crate::identity::IdentityConfig;
use crate::telemetry::TelemetryConfig;
use crate::tls::TlsConfig;
use serde::Deserialize;
use std::path::PathBuf;

/// Most input tensors, outputs asked for, or parameters of one request. Fixed by the plugin
/// contract, whose signatures have at most 64 of each.
pub const TENSORS_MAX: usize = 64;

/// Longest `id` of a request, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 256;

/// How the gateway listens, and what it accepts from outside.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// File with the API keys ([`crate::ApiKeyFile`]). It is read again when it changes.
    pub api_keys: PathBuf,
    /// Largest request body, also after decompression. Default 64 MiB, at most 1 GiB.
    pub body_bytes_max: usize,
    /// Memory of all request bodies together. Default 1 GiB; beyond it requests get 503.
    pub bodies_bytes_max: usize,
    /// Names and values of all headers of one request. Default 32 KiB, at most 256 KiB; above it
    /// the answer is 431.
    pub header_bytes_max: usize,
    /// Longest wait for a complete request header, which is also how long an idle connection is
    /// kept open. Default 75 s.
    pub header_seconds: u64,
    /// Longest time that one request body may take to arrive. Default 60 s.
    pub body_seconds: u64,
    /// Bytes of a refused body that are read and dropped behind the answer over HTTP/1.1, so that a client
    /// which is still sending gets to read it. Default 64 MiB, at most 1 GiB; beyond it the connection
    /// is reset.
    pub linger_bytes_max: usize,
    /// How long they are read. Default 30 s, at most 300 s.
    pub linger_seconds: u64,
    /// Longest time for an answer; a client's `timeout` can only shorten it. Default 60 s.
    pub request_seconds: u64,
    /// Requests worked on at once, with a key. Default 1024; further ones wait
    /// ([`FlowConfig::queue_max`]).
    pub in_flight_max: usize,
    /// Requests of one tenant, worked on or waiting. Default 512; beyond it its requests get 429.
    pub in_flight_per_tenant_max: usize,
    /// Open connections of one listener. Default 4096; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection. Default 256.
    pub streams_max: u32,
    /// How long a shutdown waits for requests that are being worked on. Default 30 s.
    pub drain_seconds: u64,
    /// Texts of one embeddings request. Default 2048.
    pub embedding_inputs_max: usize,
    /// Bytes of all texts of one embeddings request. Default 4 MiB.
    pub embedding_bytes_max: usize,
    /// Rates, shares, the wait for a place, circuits.
    pub flow: FlowConfig,
    /// Batch inference.
    pub batch: BatchConfig,
    /// Usage records, traces and the access log.
    pub telemetry: TelemetryConfig,
    /// Who is recognized beside the owners of API keys. Default nobody.
    pub identity: IdentityConfig,
    /// Certificate of the server; absent for plain HTTP, which is for loopback and for private
    /// networks behind a proxy.
    pub tls: Option<TlsConfig>,
}

impl Default for GatewayConfig {
    fn default() -> GatewayConfig {
        GatewayConfig {
            api_keys: PathBuf::from("api_keys.toml"),
            body_bytes_max: 64 << 20,
            bodies_bytes_max: 1 << 30,
            header_bytes_max: 32 << 10,
            header_seconds: 75,
            body_seconds: 60,
            linger_bytes_max: 64 << 20,
            linger_seconds: 30,
            request_seconds: 60,
            in_flight_max: 1024,
            in_flight_per_tenant_max: 512,
            connections_max: 4096,
            streams_max: 256,
            drain_seconds: 30,
            embedding_inputs_max: 2048,
            embedding_bytes_max: 4 << 20,
            flow: FlowConfig::default(),
            batch: BatchConfig::default(),
            telemetry: TelemetryConfig::default(),
            identity: IdentityConfig::default(),
            tls: None,
        }
    }
}

/// A setting outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gateway.{field}: expected {min} to {max}, got {got}")]
pub struct ConfigError {
    /// The setting.
    pub field: &'static str,
    /// Least value.
    pub min: u64,
    /// Greatest value.
    pub max: u64,
    /// The value that came.
    pub got: u64,
}

impl ConfigError {
    /// Checks a number against its range.
    pub(crate) fn in_range(
        field: &'static str,
        got: u64,
        min: u64,
        max: u64,
    ) -> Result<(), ConfigError> {
        if got < min || got > max {
            return Err(ConfigError { field, min, max, got });
        }
        Ok(())
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A number outside its range.
    #[error(transparent)]
    Range(#[from] ConfigError),
    /// A text that does not fit, or that contradicts another setting.
    #[error("gateway.{field}: expected {expected}, got {got:?}")]
    Value {
        /// The setting.
        field: &'static str,
        /// The rule.
        expected: &'static str,
        /// What came, at most 200 characters of it.
        got: String,
    },
}

impl SettingError {
    pub(crate) fn value(field: &'static str, expected: &'static str, got: &str) -> SettingError {
        SettingError::Value { field, expected, got: got.chars().take(200).collect() }
    }

    /// The setting.
    pub fn field(&self) -> &'static str {
        match self {
            SettingError::Range(error) => error.field,
            SettingError::Value { field, .. } => field,
        }
    }
}

impl GatewayConfig {
    /// The defaults with this file of API keys.
    pub fn new(api_keys: impl Into<PathBuf>) -> GatewayConfig {
        GatewayConfig { api_keys: api_keys.into(), ..GatewayConfig::default() }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`SettingError`] for the first setting that cannot be.
    pub fn validate(&self) -> Result<(), SettingError> {
        let body = self.body_bytes_max as u64;
        let checks = [
            ("body_bytes_max", body, 1 << 10, 1 << 30),
            ("bodies_bytes_max", self.bodies_bytes_max as u64, body, 1 << 40),
            ("header_bytes_max", self.header_bytes_max as u64, 1 << 10, 256 << 10),
            ("header_seconds", self.header_seconds, 1, 3600),
            ("body_seconds", self.body_seconds, 1, 3600),
            ("linger_bytes_max", self.linger_bytes_max as u64, 0, 1 << 30),
            ("linger_seconds", self.linger_seconds, 0, 300),
            ("request_seconds", self.request_seconds, 1, 86_400),
            ("in_flight_max", self.in_flight_max as u64, 1, 1 << 20),
            ("in_flight_per_tenant_max", self.in_flight_per_tenant_max as u64, 1, 1 << 20),
            ("connections_max", self.connections_max as u64, 1, 1 << 20),
            ("streams_max", u64::from(self.streams_max), 1, 1 << 16),
            ("drain_seconds", self.drain_seconds, 0, 3600),
            ("embedding_inputs_max", self.embedding_inputs_max as u64, 1, 1 << 16),
            ("embedding_bytes_max", self.embedding_bytes_max as u64, 1, 1 << 30),
        ];
        for (field, got, min, max) in checks.into_iter().chain(self.batch.ranges()) {
            ConfigError::in_range(field, got, min, max)?;
        }
        self.flow.validate()?;
        self.telemetry.validate()?;
        self.identity.validate()?;
        let client_ca = self.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
        if !self.identity.certificate.is_empty() && client_ca.is_none() {
            let expected = "tls.client_ca, when certificates identify tenants";
            return Err(SettingError::value("identity.certificate", expected, "none"));
        }
        self.tls.as_ref().map_or(Ok(()), TlsConfig::validate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_edge_is_checked() {
        let good = GatewayConfig::default();
        assert_eq!(good.validate(), Ok(()));
        let wrong = |change: fn(&mut GatewayConfig)| {
            let mut config = GatewayConfig::default();
            change(&mut config);
            config.validate().unwrap_err().field()
        };
        assert_eq!(wrong(|c| c.body_bytes_max = (1 << 30) + 1), "body_bytes_max");
        assert_eq!(wrong(|c| c.bodies_bytes_max = (64 << 20) - 1), "bodies_bytes_max");
        assert_eq!(wrong(|c| c.header_seconds = 0), "header_seconds");
        assert_eq!(wrong(|c| c.in_flight_max = 0), "in_flight_max");
        assert_eq!(wrong(|c| c.connections_max = 0), "connections_max");
        let usage = wrong(|c| c.telemetry.usage.queue_len_max = 0);
        assert_eq!(usage, "telemetry.usage.queue_len_max");
        for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let mut config = GatewayConfig::default();
            config.telemetry.traces.ratio = ratio;
            assert!(config.validate().is_err(), "{ratio}");
        }
    }

    /// A setting, and how it is set.
    type Setting = (&'static str, fn(&mut GatewayConfig, u64), u64, u64);

    #[test]
    fn every_number_is_taken_from_its_least_to_its_greatest_value() {
        let settings: [Setting; 15] = [
            ("body_bytes_max", |c, v| c.body_bytes_max = v as usize, 1 << 10, 1 << 30),
            ("bodies_bytes_max", |c, v| c.bodies_bytes_max = v as usize, 64 << 20, 1 << 40),
            ("header_bytes_max", |c, v| c.header_bytes_max = v as usize, 1 << 10, 256 << 10),
            ("header_seconds", |c, v| c.header_seconds = v, 1, 3600),
            ("body_seconds", |c, v| c.body_seconds = v, 1, 3600),
            ("linger_bytes_max", |c, v| c.linger_bytes_max = v as usize, 0, 1 << 30),
            ("linger_seconds", |c, v| c.linger_seconds = v, 0, 300),
            ("request_seconds", |c, v| c.request_seconds = v, 1, 86_400),
            ("in_flight_max", |c, v| c.in_flight_max = v as usize, 1, 1 << 20),
            (
                "in_flight_per_tenant_max",
                |c, v| c.in_flight_per_tenant_max = v as usize,
                1,
                1 << 20,
            ),
            ("connections_max", |c, v| c.connections_max = v as usize, 1, 1 << 20),
            ("streams_max", |c, v| c.streams_max = v as u32, 1, 1 << 16),
            ("drain_seconds", |c, v| c.drain_seconds = v, 0, 3600),
            ("embedding_inputs_max", |c, v| c.embedding_inputs_max = v as usize, 1, 1 << 16),
            ("embedding_bytes_max", |c, v| c.embedding_bytes_max = v as usize, 1, 1 << 30),
        ];
        for (field, set, min, max) in settings {
            let check = |value| {
                let mut config = GatewayConfig::default();
                set(&mut config, value);
                config.validate().map_err(|error| error.field())
            };
            let got = (check(min), check(max), check(max + 1));
            assert_eq!(got, (Ok(()), Ok(()), Err(field)), "{field}");
            if let Some(less) = min.checked_sub(1) {
                assert_eq!(check(less), Err(field), "{field} below {min}");
            }
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let error = toml::from_str::<GatewayConfig>("body_byte_max = 5").unwrap_err();
        assert!(error.to_string().contains("body_byte_max"), "{error}");
    }
}
