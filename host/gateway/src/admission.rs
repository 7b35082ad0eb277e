//! Room 2: who is asking, what for, until when, and whether there is room. The next room can only
//! be entered with an [`Admitted`], and only this file makes one.

use crate::GatewayConfig;
use crate::failure::Failure;
use crate::flow::{Flow, Permit};
use crate::identity::access::Guarded;
use crate::identity::{Caller, Identity, Principal, Verb};
use axum::http::StatusCode;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Requests of operators inside at once. They have room of their own, so that a full house can be
/// looked after.
const OPERATORS_MAX: usize = 64;

/// The door: who comes, and how many are inside.
pub(crate) struct Admission {
    identity: Identity,
    flow: Flow,
    operators: Flow,
    request_max: Duration,
}

/// A request of somebody who may do `V`, and for which there is room until it is dropped.
pub(crate) struct Admitted<V> {
    principal: Principal,
    deadline: Instant,
    permit: Permit,
    verb: PhantomData<V>,
}

impl Admission {
    pub(crate) fn new(identity: Identity, config: &GatewayConfig) -> Admission {
        Admission {
            identity,
            flow: Flow::new(config),
            operators: Flow::new(&GatewayConfig {
                in_flight_max: OPERATORS_MAX,
                in_flight_per_tenant_max: usize::MAX,
                ..config.clone()
            }),
            request_max: Duration::from_secs(config.request_seconds),
        }
    }

    /// Keeps what identities depend on up to date, until it is dropped.
    pub(crate) async fn keep_fresh(&self) {
        self.identity.keep_fresh().await;
    }

    /// What tells who is asking.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Requests inside now, those of operators aside.
    pub(crate) fn in_flight(&self) -> usize {
        self.flow.in_flight()
    }

    /// Lets a request in, or says why not: 401 without a good key, 403 if its roles do not include
    /// the verb, 429 if its tenant has too many requests inside, 503 if everybody has.
    pub(crate) fn admit<'a, V: Guarded>(
        &self,
        caller: impl Into<Caller<'a>>,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Admitted<V>, Failure> {
        let principal = self.identity.authenticate(caller.into(), now, wall)?;
        principal.require(V::NEEDS)?;
        let flow = match V::NEEDS {
            Verb::Read | Verb::Infer | Verb::Publish => &self.flow,
            Verb::Operate | Verb::Administer => &self.operators,
        };
        let permit = flow.enter(principal.tenant.clone())?;
        let deadline = now + self.request_max;
        Ok(Admitted { principal, deadline, permit, verb: PhantomData })
    }
}

impl<V> Admitted<V> {
    /// Who is charged.
    pub(crate) fn tenant(&self) -> &Arc<str> {
        &self.permit.tenant().name
    }

    /// When the answer is worth nothing any more.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Brings the deadline forward; a later one changes nothing.
    pub(crate) fn shorten(&mut self, deadline: Instant) {
        self.deadline = self.deadline.min(deadline);
    }

    /// Whether the key may see this model at all.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.principal.may_use(model)
    }

    /// 403 for a key with a list of models: what follows is about all of them.
    pub(crate) fn require_all_models(&self) -> Result<(), Failure> {
        match self.principal.models {
            None => Ok(()),
            Some(_) => {
                let message = "this API key has a list of models; this is about all of them";
                Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", message))
            }
        }
    }

    /// 403 unless the key may use this model.
    pub(crate) fn require(&self, model: &str) -> Result<(), Failure> {
        if self.may_use(model) {
            return Ok(());
        }
        let name: String = model.chars().take(64).collect();
        let message = format!("this API key may not use model {name:?}");
        Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::access::{Infer, Operate};
    use crate::identity::{append_api_key, generate_api_key};
    use axum::http::HeaderMap;
    use axum::http::header::AUTHORIZATION;

    fn door(all: usize, each: usize) -> (tempfile::TempDir, Admission, [HeaderMap; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let headers = ["one", "two"].map(|tenant| {
            let (text, mut record) = generate_api_key(tenant, "").unwrap();
            record.models = (tenant == "two").then(|| vec!["allowed".to_owned()]);
            append_api_key(&path, &record).unwrap();
            HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {text}").parse().unwrap())])
        });
        let config = GatewayConfig {
            in_flight_max: all,
            in_flight_per_tenant_max: each,
            ..GatewayConfig::new(&path)
        };
        let identity = Identity::open(&config, Instant::now()).unwrap();
        (dir, Admission::new(identity, &config), headers)
    }

    fn status<V>(result: Result<Admitted<V>, Failure>) -> u16 {
        result.err().map_or(200, |failure| failure.status.as_u16())
    }

    #[test]
    fn permits_are_counted_for_the_tenant_and_for_all_and_come_back() {
        let (_dir, door, [one, two]) = door(3, 2);
        let admit = |headers| door.admit::<Infer>(headers, Instant::now(), SystemTime::now());
        let first = admit(&one).unwrap();
        let _second = admit(&one).unwrap();
        assert_eq!(status(admit(&one)), 429);
        let _third = admit(&two).unwrap();
        assert_eq!(status(admit(&two)), 503);
        assert_eq!(door.in_flight(), 3);
        drop(first);
        assert_eq!(status(admit(&two)), 200);
        assert_eq!(door.in_flight(), 2);
    }

    #[test]
    fn only_a_bearer_key_opens() {
        let (_dir, door, [good, _]) = door(9, 9);
        let key = good[AUTHORIZATION].to_str().unwrap().to_owned();
        let admit = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            status(door.admit::<Infer>(&headers, Instant::now(), SystemTime::now()))
        };
        assert_eq!(admit(&key), 200);
        assert_eq!(admit(&key.replace("Bearer", "bearer")), 200);
        assert_eq!(admit(&key.replace("Bearer ", "Basic ")), 401);
        assert_eq!(admit(&key.replace("Bearer ", "")), 401);
        assert_eq!(admit("Bearer "), 401);
        assert_eq!(
            status(door.admit::<Infer>(&HeaderMap::new(), Instant::now(), SystemTime::now())),
            401
        );
    }

    #[test]
    fn a_key_with_a_list_of_models_opens_only_those() {
        let (_dir, door, [all, listed]) = door(9, 9);
        let admit =
            |headers| door.admit::<Infer>(headers, Instant::now(), SystemTime::now()).unwrap();
        assert!(admit(&all).require("any").is_ok());
        assert!(admit(&listed).require("allowed").is_ok());
        assert_eq!(admit(&listed).require("other").unwrap_err().status.as_u16(), 403);
    }

    #[test]
    fn a_role_without_the_verb_takes_no_room() {
        let (_dir, door, [one, _]) = door(9, 9);
        let (now, wall) = (Instant::now(), SystemTime::now());
        let refused = door.admit::<Operate>(&one, now, wall).err().unwrap();
        assert_eq!(refused.status.as_u16(), 403);
        assert!(refused.message.contains("`operate`") && refused.message.contains("read, infer"));
        assert_eq!(door.in_flight(), 0);
    }

    #[test]
    fn operators_get_in_when_the_house_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let (text, mut record) = generate_api_key("one", "").unwrap();
        record.roles = Some(vec![crate::identity::Role::Operator]);
        append_api_key(&path, &record).unwrap();
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {text}").parse().unwrap())]);
        let config = GatewayConfig { in_flight_max: 1, ..GatewayConfig::new(&path) };
        let door = Admission::new(Identity::open(&config, Instant::now()).unwrap(), &config);
        let (now, wall) = (Instant::now(), SystemTime::now());
        let _inside = door.admit::<Infer>(&headers, now, wall).unwrap();
        assert_eq!(status(door.admit::<Infer>(&headers, now, wall)), 503);
        let inside: Vec<_> = (0..OPERATORS_MAX)
            .map(|_| door.admit::<Operate>(&headers, now, wall).unwrap())
            .collect();
        assert_eq!(status(door.admit::<Operate>(&headers, now, wall)), 503);
        drop(inside);
        assert_eq!(status(door.admit::<Operate>(&headers, now, wall)), 200);
    }
}
