//! Settings of flow control: the table `[gateway.flow]`.

use crate::config::ConfigError;
use crate::flow::gcra::Rate;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most tenants with settings of their own.
const TENANTS_MAX: usize = 65_536;
/// Greatest rate, burst or number of bytes.
const UNITS_MAX: u64 = 1 << 40;
/// Greatest weight.
const WEIGHT_MAX: u64 = 1_000;

/// How much tenants may ask for, and what happens when everybody asks for more than there is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// Limits of tenants without a table of their own, and what such a table leaves out.
    pub default: TenantLimits,
    /// Limits by name of tenant.
    pub tenant: BTreeMap<String, TenantLimits>,
    /// Requests that wait for one of [`crate::GatewayConfig::in_flight_max`] places. Default 1024;
    /// beyond it, and at once if 0, requests get 503.
    pub queue_max: usize,
    /// Longest wait, also the longest that may be expected. Default 1000 ms.
    pub queue_ms_max: u64,
    /// Wait that a tenant's requests are held to once its queue has not been empty for
    /// `sojourn_interval_ms`; four times the mean time between two places if that is more.
    /// Default 20 ms.
    pub sojourn_target_ms: u64,
    /// How long a tenant's queue may stand before it is shortened. Default 100 ms.
    pub sojourn_interval_ms: u64,
    /// Open connections of one peer address (of one /64 for IPv6); further ones are closed as soon as
    /// they are accepted. Default 1024. Raise it behind a proxy.
    pub connections_per_peer_max: usize,
    /// On shutdown, how long `/v2/health/ready` says no while new connections are still accepted and
    /// answers ask clients to reconnect. Default 0 s.
    pub unready_seconds: u64,
    /// When calls of a model that keeps failing are refused without trying.
    pub circuit: CircuitConfig,
}

/// Limits of one tenant. What is left out comes from `[gateway.flow.default]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantLimits {
    /// Requests a minute; 0, the default, sets no limit. Beyond it 429.
    pub requests_per_minute: Option<u64>,
    /// Requests at once within that rate. Default one second's worth.
    pub requests_burst: Option<u64>,
    /// Bytes of request bodies a second; 0, the default, sets no limit. Beyond it 429.
    pub body_bytes_per_second: Option<u64>,
    /// Bytes at once within that rate. A larger body needs all of them and delays what follows.
    /// Default one second's worth.
    pub body_bytes_burst: Option<u64>,
    /// Requests inside or waiting. Default [`crate::GatewayConfig::in_flight_per_tenant_max`]; beyond
    /// it 429.
    pub in_flight_max: Option<usize>,
    /// Memory of this tenant's request bodies. Default half of
    /// [`crate::GatewayConfig::bodies_bytes_max`], but room for one body; beyond it 429.
    pub bodies_bytes_max: Option<usize>,
    /// Requests of this tenant that wait for a place. Default 256; beyond it 429.
    pub queue_max: Option<usize>,
    /// Share of the places while several tenants wait, 1 to 1000. Default 1.
    pub weight: Option<u32>,
}

/// When a circuit opens, and how it closes. A circuit belongs to one tenant and one version of a
/// model, so that inputs that break a plugin cost nobody else the model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitConfig {
    /// Failures in a row that open a circuit. Default 5; 0 switches circuits off.
    pub failures_in_a_row: u32,
    /// Share of failures, in percent of the calls of ten seconds, that opens it. Default 50.
    pub failures_percent: u32,
    /// Least calls in ten seconds for that share to count. Default 20.
    pub calls_min: u32,
    /// How long it stays open at first; twice as long after each failed probe. Default 5 s.
    pub open_seconds: u64,
    /// Longest time that it stays open. Default 60 s.
    pub open_seconds_max: u64,
    /// Probes that must succeed in a row to close it. Default 2.
    pub probes: u32,
}

impl Default for FlowConfig {
    fn default() -> FlowConfig {
        FlowConfig {
            default: TenantLimits::default(),
            tenant: BTreeMap::new(),
            queue_max: 1024,
            queue_ms_max: 1000,
            sojourn_target_ms: 20,
            sojourn_interval_ms: 100,
            connections_per_peer_max: 1024,
            unready_seconds: 0,
            circuit: CircuitConfig::default(),
        }
    }
}

impl Default for CircuitConfig {
    fn default() -> CircuitConfig {
        CircuitConfig {
            failures_in_a_row: 5,
            failures_percent: 50,
            calls_min: 20,
            open_seconds: 5,
            open_seconds_max: 60,
            probes: 2,
        }
    }
}

impl FlowConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let circuit = &self.circuit;
        check(&[
            ("flow.tenant (number of tables)", self.tenant.len() as u64, 0, TENANTS_MAX as u64),
            ("flow.queue_max", self.queue_max as u64, 0, 1 << 20),
            ("flow.queue_ms_max", self.queue_ms_max, 1, 3_600_000),
            ("flow.sojourn_target_ms", self.sojourn_target_ms, 1, self.queue_ms_max),
            ("flow.sojourn_interval_ms", self.sojourn_interval_ms, 1, 60_000),
            ("flow.connections_per_peer_max", self.connections_per_peer_max as u64, 1, 1 << 20),
            ("flow.unready_seconds", self.unready_seconds, 0, 3600),
            ("flow.circuit.failures_in_a_row", circuit.failures_in_a_row.into(), 0, 1_000_000),
            ("flow.circuit.failures_percent", circuit.failures_percent.into(), 1, 100),
            ("flow.circuit.calls_min", circuit.calls_min.into(), 1, 1_000_000),
            ("flow.circuit.open_seconds", circuit.open_seconds, 1, 3600),
            (
                "flow.circuit.open_seconds_max",
                circuit.open_seconds_max,
                circuit.open_seconds,
                86_400,
            ),
            ("flow.circuit.probes", circuit.probes.into(), 1, 1_000),
        ])?;
        self.tenant.values().chain([&self.default]).try_for_each(TenantLimits::validate)
    }

    /// What the tenant of this name has, with the gateway's own limits where nothing is said.
    pub(crate) fn limits_of(&self, name: &str, in_flight: usize, bodies_bytes: usize) -> Limits {
        let none = TenantLimits::default();
        let (own, common) = (self.tenant.get(name).unwrap_or(&none), &self.default);
        let requests = own.requests_per_minute.or(common.requests_per_minute);
        let body = own.body_bytes_per_second.or(common.body_bytes_per_second);
        Limits {
            requests: rate(requests, 60, own.requests_burst.or(common.requests_burst)),
            body_bytes: rate(body, 1, own.body_bytes_burst.or(common.body_bytes_burst)),
            in_flight_max: own.in_flight_max.or(common.in_flight_max).unwrap_or(in_flight),
            bodies_bytes_max: own
                .bodies_bytes_max
                .or(common.bodies_bytes_max)
                .unwrap_or(bodies_bytes),
            queue_max: own.queue_max.or(common.queue_max).unwrap_or(256),
            weight: own.weight.or(common.weight).unwrap_or(1),
        }
    }
}

/// The limits of one tenant, with nothing left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) requests: Option<Rate>,
    pub(crate) body_bytes: Option<Rate>,
    pub(crate) in_flight_max: usize,
    pub(crate) bodies_bytes_max: usize,
    pub(crate) queue_max: usize,
    /// At least 1.
    pub(crate) weight: u32,
}

impl TenantLimits {
    fn validate(&self) -> Result<(), ConfigError> {
        let number = |value: Option<u64>, absent: u64| value.unwrap_or(absent);
        let size = |value: Option<usize>, absent: u64| value.map_or(absent, |value| value as u64);
        check(&[
            (
                "flow.tenant.*.requests_per_minute",
                number(self.requests_per_minute, 0),
                0,
                UNITS_MAX,
            ),
            ("flow.tenant.*.requests_burst", number(self.requests_burst, 1), 1, UNITS_MAX),
            (
                "flow.tenant.*.body_bytes_per_second",
                number(self.body_bytes_per_second, 0),
                0,
                UNITS_MAX,
            ),
            ("flow.tenant.*.body_bytes_burst", number(self.body_bytes_burst, 1), 1, UNITS_MAX),
            ("flow.tenant.*.in_flight_max", size(self.in_flight_max, 1), 1, 1 << 20),
            ("flow.tenant.*.bodies_bytes_max", size(self.bodies_bytes_max, 1), 1, UNITS_MAX),
            ("flow.tenant.*.queue_max", size(self.queue_max, 0), 0, 1 << 20),
            ("flow.tenant.*.weight", self.weight.unwrap_or(1).into(), 1, WEIGHT_MAX),
        ])
    }
}

/// A rate of so many units in so many seconds, unless there is none. Its burst is one second's
/// worth if nothing is said.
fn rate(units: Option<u64>, seconds: u64, burst: Option<u64>) -> Option<Rate> {
    let units = units.filter(|units| *units > 0)?;
    let burst = burst.unwrap_or_else(|| units.div_ceil(seconds));
    Some(Rate::new(units, Duration::from_secs(seconds), burst))
}

fn check(settings: &[(&'static str, u64, u64, u64)]) -> Result<(), ConfigError> {
    for &(field, got, min, max) in settings {
        if got < min || got > max {
            return Err(ConfigError { field, min, max, got });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> FlowConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_defaults_are_valid_and_limit_no_rate() {
        let config = FlowConfig::default();
        assert_eq!(config.validate(), Ok(()));
        let limits = config.limits_of("acme", 5, 6);
        assert_eq!((limits.requests, limits.body_bytes), (None, None));
        assert_eq!((limits.in_flight_max, limits.bodies_bytes_max, limits.weight), (5, 6, 1));
    }

    #[test]
    fn a_tenant_s_table_wins_over_the_common_one_setting_by_setting() {
        let config = read(
            "default.requests_per_minute = 600\ndefault.weight = 2\n\
             [tenant.acme]\nrequests_per_minute = 60\nrequests_burst = 7\n\
             [tenant.free]\nrequests_per_minute = 0\nweight = 9\n",
        );
        let of = |name: &str| config.limits_of(name, 1, 1);
        let minute = Duration::from_secs(60);
        assert_eq!(of("other").requests, Some(Rate::new(600, minute, 10)));
        assert_eq!(of("acme").requests, Some(Rate::new(60, minute, 7)));
        assert_eq!(of("free").requests, None);
        assert_eq!((of("acme").weight, of("free").weight), (2, 9));
    }

    #[test]
    fn settings_out_of_range_and_unknown_ones_are_named() {
        let wrong = |text: &str| read(text).validate().unwrap_err().field;
        assert_eq!(wrong("tenant.a.weight = 0"), "flow.tenant.*.weight");
        assert_eq!(wrong("default.weight = 1001"), "flow.tenant.*.weight");
        assert_eq!(wrong("tenant.a.in_flight_max = 0"), "flow.tenant.*.in_flight_max");
        assert_eq!(wrong("queue_ms_max = 19"), "flow.sojourn_target_ms");
        assert_eq!(wrong("circuit.failures_percent = 101"), "flow.circuit.failures_percent");
        assert_eq!(wrong("circuit.open_seconds = 61"), "flow.circuit.open_seconds_max");
        let error = toml::from_str::<FlowConfig>("tenant.a.rate = 5").unwrap_err().to_string();
        assert!(error.contains("rate"), "{error}");
    }
}
