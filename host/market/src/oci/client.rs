//! Requests to a registry: bounded in size and time, led nowhere but where the location allows, answered
//! with a token where one is asked for.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body};

use super::MANIFEST_BYTES_MAX;
use super::auth::{Challenge, Credentials};
use super::documents::Digest;
use super::location::Location;
use crate::MarketError;
use crate::mirror::{FetchLimits, agent, failed, too_large};

const REDIRECTS_MAX: usize = 4;
const TOKEN_BYTES_MAX: usize = 64 << 10;
const ERROR_BYTES_MAX: u64 = 4 << 10;

/// A registry that is spoken to.
pub(super) struct Client {
    agent: Agent,
    pub(super) location: Location,
    limits: FetchLimits,
    credentials: Option<Credentials>,
    /// Value of the header `authorization`, once one was asked for.
    authorization: Option<String>,
}

/// A request.
struct Ask<'a> {
    method: Method,
    url: String,
    accept: &'a str,
    /// Media type and bytes.
    body: Option<(&'a str, &'a [u8])>,
    time: Duration,
}

impl Client {
    pub(super) fn new(
        location: Location,
        credentials: Option<Credentials>,
        limits: FetchLimits,
    ) -> Result<Client, MarketError> {
        let agent = agent(&limits, 0)?;
        Ok(Client { agent, location, limits, credentials, authorization: None })
    }

    /// That the registry did something else than it must when asked for `what`.
    pub(super) fn failed(&self, what: &str, got: impl Into<String>) -> MarketError {
        failed(self.location.as_str(), what, got.into())
    }

    /// What is at `rest` below the repository, of at most `bytes_max` bytes; `None` where nothing is.
    pub(super) fn get(
        &mut self,
        what: &str,
        (rest, accept): (&str, &str),
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, MarketError> {
        let url = self.location.url(rest);
        let time = self.limits.time(bytes_max);
        let response =
            self.send(what, Ask { method: Method::GET, url, accept, body: None, time })?;
        match response.status().as_u16() {
            200 => self.read(what, response, bytes_max).map(Some),
            404 => Ok(None),
            _ => Err(self.refused(what, response)),
        }
    }

    /// The manifest or index at a tag or digest.
    pub(super) fn manifest(
        &mut self,
        what: &str,
        reference: &str,
        kind: &str,
    ) -> Result<Option<Vec<u8>>, MarketError> {
        self.get(what, (&format!("manifests/{reference}"), kind), MANIFEST_BYTES_MAX)
    }

    /// The digest of what is at `rest`, as the registry says; empty if it does not say.
    pub(super) fn head(
        &mut self,
        what: &str,
        (rest, accept): (&str, &str),
    ) -> Result<Option<String>, MarketError> {
        let (url, time) = (self.location.url(rest), self.limits.time(0));
        let ask = Ask { method: Method::HEAD, url, accept, body: None, time };
        let response = self.send(what, ask)?;
        let digest = header(&response, "docker-content-digest").unwrap_or_default().to_owned();
        match response.status().as_u16() {
            200 => Ok(Some(digest)),
            404 => Ok(None),
            _ => Err(self.refused(what, response)),
        }
    }

    /// Uploads a blob in one piece.
    pub(super) fn put_blob(&mut self, what: &str, bytes: &[u8]) -> Result<(), MarketError> {
        let (url, time) = (self.location.url("blobs/uploads/"), self.limits.time(0));
        let body = Some(("application/octet-stream", &b""[..]));
        let response =
            self.send(what, Ask { method: Method::POST, url, accept: "*/*", body, time })?;
        if response.status().as_u16() != 202 {
            return Err(self.refused(what, response));
        }
        let session = header(&response, "location").unwrap_or_default().to_owned();
        drop(response);
        let session = self.whole(what, &session)?;
        let join = if session.contains('?') { '&' } else { '?' };
        let digest = Digest::of(bytes);
        let url = format!("{session}{join}digest=sha256%3A{}", digest.hex());
        let (body, time) =
            (Some(("application/octet-stream", bytes)), self.limits.time(bytes.len()));
        let response =
            self.send(what, Ask { method: Method::PUT, url, accept: "*/*", body, time })?;
        match response.status().as_u16() {
            201 => Ok(()),
            _ => Err(self.refused(what, response)),
        }
    }

    /// Puts a manifest or index at a tag or digest; whether the registry keeps its referrers itself.
    pub(super) fn put_manifest(
        &mut self,
        what: &str,
        reference: &str,
        (kind, bytes): (&str, &[u8]),
    ) -> Result<bool, MarketError> {
        let url = self.location.url(&format!("manifests/{reference}"));
        let (body, time) = (Some((kind, bytes)), self.limits.time(bytes.len()));
        let response =
            self.send(what, Ask { method: Method::PUT, url, accept: "*/*", body, time })?;
        if response.status().as_u16() != 201 {
            return Err(self.refused(what, response));
        }
        let expected = Digest::of(bytes).to_string();
        match header(&response, "docker-content-digest") {
            Some(digest) if digest != expected => {
                Err(self.failed(what, format!("expected {expected} to be kept, got {digest}")))
            }
            Some(_) | None => Ok(header(&response, "oci-subject").is_some()),
        }
    }

    /// Sends a request, and once more with what it takes if the registry asks who is there.
    fn send(&mut self, what: &str, ask: Ask<'_>) -> Result<Response<Body>, MarketError> {
        let (response, url) = self.follow(what, &ask)?;
        if response.status().as_u16() != 401 || !self.location.is_home(&url) {
            return Ok(response);
        }
        let challenges = response.headers().get_all("www-authenticate").iter();
        let mut challenges = challenges.filter_map(|value| Challenge::parse(value.to_str().ok()?));
        let challenge = challenges.next();
        drop(response);
        self.authorization = Some(self.answer(what, challenge)?);
        Ok(self.follow(what, &ask)?.0)
    }

    fn answer(&self, what: &str, challenge: Option<Challenge>) -> Result<String, MarketError> {
        let credentials = self.credentials.as_ref().filter(|_| self.location.is_private());
        let url = match (challenge, credentials) {
            (Some(Challenge::Basic), Some(credentials)) => return Ok(credentials.basic()),
            (Some(Challenge::Bearer(url)), _) => url,
            (Some(Challenge::Basic), None) => {
                let host = self.location.authority();
                let got = match self.location.is_private() {
                    true => format!("it wants a user and a password: `docker login {host}`"),
                    false => "it wants a password, which is not sent over plain HTTP".to_owned(),
                };
                return Err(self.failed(what, got));
            }
            (None, _) => {
                return Err(self.failed(what, "HTTP status 401, and no challenge that is known"));
            }
        };
        self.allow(what, &url, "asks for a token")?;
        let mut request = Request::get(&url);
        if let Some(credentials) = credentials {
            request = request.header("authorization", credentials.basic());
        }
        let request = request.body(()).map_err(|error| self.failed(what, error.to_string()))?;
        let time = Some(self.limits.time(TOKEN_BYTES_MAX));
        let request = self.agent.configure_request(request).timeout_global(time).build();
        let response =
            self.agent.run(request).map_err(|error| self.failed(what, error.to_string()))?;
        if response.status().as_u16() != 200 {
            return Err(self.refused("token", response));
        }
        let bytes = self.read("token", response, TOKEN_BYTES_MAX)?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = answer["token"].as_str().or_else(|| answer["access_token"].as_str());
        let visible =
            |token: &&str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        match token.filter(visible) {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(self.failed("token", "expected JSON with `token`, got another answer")),
        }
    }

    /// Sends a request and follows redirects to where the location allows; the answer and its address.
    fn follow(&self, what: &str, ask: &Ask<'_>) -> Result<(Response<Body>, String), MarketError> {
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once(what, ask, &url)?;
            let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !redirects || ask.body.is_some() {
                return Ok((response, url));
            }
            let next = header(&response, "location").unwrap_or_default();
            url = match next.starts_with('/') && !self.location.is_home(&url) {
                true => return Err(self.failed(what, "a redirect without a host")),
                false => self.whole(what, next)?,
            };
        }
        Err(self.failed(what, format!("more than {REDIRECTS_MAX} redirects")))
    }

    fn once(&self, what: &str, ask: &Ask<'_>, url: &str) -> Result<Response<Body>, MarketError> {
        let fail = |error: String| self.failed(what, error);
        let mut request =
            Request::builder().method(&ask.method).uri(url).header("accept", ask.accept);
        if let Some(value) = self.authorization.as_ref().filter(|_| self.location.is_home(url)) {
            request = request.header("authorization", value);
        }
        let time = Some(ask.time);
        let sent = match ask.body {
            Some((kind, bytes)) => {
                let request = request.header("content-type", kind).body(bytes);
                let request = request.map_err(|error| fail(error.to_string()))?;
                let request = self.agent.configure_request(request).timeout_global(time).build();
                self.agent.run(request)
            }
            None => {
                let request = request.body(()).map_err(|error| fail(error.to_string()))?;
                let request = self.agent.configure_request(request).timeout_global(time).build();
                self.agent.run(request)
            }
        };
        sent.map_err(|error| fail(error.to_string()))
    }

    /// The whole address of where the registry leads, if it may lead there.
    fn whole(&self, what: &str, url: &str) -> Result<String, MarketError> {
        let whole = match url.starts_with('/') && !url.starts_with("//") {
            true => format!("{}{url}", self.location.origin()),
            false => url.to_owned(),
        };
        self.allow(what, &whole, "leads to")?;
        Ok(whole)
    }

    fn allow(&self, what: &str, url: &str, does: &str) -> Result<(), MarketError> {
        if self.location.may_lead_to(url) {
            return Ok(());
        }
        let host = url.split("://").nth(1).unwrap_or_default();
        let host = host.split(['/', '?']).next().unwrap_or_default();
        let remedy = format!("add `?also={host}` to the location if that is expected");
        Err(self.failed(what, format!("it {does} {url:.80}: {remedy}")))
    }

    fn read(
        &self,
        what: &str,
        mut response: Response<Body>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, MarketError> {
        let mut bytes = Vec::new();
        let mut limited =
            response.body_mut().as_reader().take((bytes_max as u64).saturating_add(1));
        limited.read_to_end(&mut bytes).map_err(|error| self.failed(what, error.to_string()))?;
        match bytes.len() <= bytes_max {
            true => Ok(bytes),
            false => Err(too_large(what, bytes_max).into()),
        }
    }

    /// What the registry said instead, with the code of its error if it gave one.
    fn refused(&self, what: &str, mut response: Response<Body>) -> MarketError {
        let mut text = Vec::new();
        // The status tells enough where the text cannot be had.
        let _ = response.body_mut().as_reader().take(ERROR_BYTES_MAX).read_to_end(&mut text);
        let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
        let error = &answer["errors"][0];
        let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        let said = format!("HTTP status {status} {} {}", part("code"), part("message"));
        self.failed(what, said.trim_end())
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}
