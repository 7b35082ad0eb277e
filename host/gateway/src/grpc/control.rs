//! The methods that look and steer: each says in its own messages what the HTTP routes say in JSON.

use super::codec::Method;
use super::messages::{
    Empty, HealthCheckRequest, HealthCheckResponse, LogChoice, LogSettings, LogValue,
    ModelConfigResponse, ModelIndex, ModelName, ModelStatisticsResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, RepositoryModel, RepositoryModelDone, ServerMetadata,
    TraceSettingRequest, TraceSettingResponse, TraceValue, Truth,
};
use super::{Grpc, metadata};
use crate::admission::Admitted;
use crate::failure::Failure;
use crate::identity::access::{Operate, Read};
use crate::oip::settings::{self, LogSetting};
use crate::oip::{EXTENSIONS, shared_memory};
use crate::router::Gateway;
use aimass_engine::{Family, Selector};
use axum::body::Body;
use axum::http::{Response, StatusCode};
use std::sync::Arc;

impl Grpc {
    /// The methods that want no key.
    pub(super) async fn open(self, name: &str, method: Method) -> Response<Body> {
        let gateway = self.gateway;
        match name {
            "ServerLive" => {
                method
                    .unary(|_: Empty| async move { Ok(Truth { value: gateway.engine.live() }) })
                    .await
            }
            "ServerReady" => {
                method
                    .unary(|_: Empty| async move { Ok(Truth { value: gateway.is_ready() }) })
                    .await
            }
            _ => {
                method
                    .unary(|check: HealthCheckRequest| async move { health(&gateway, &check) })
                    .await
            }
        }
    }

    /// The methods that look.
    pub(super) async fn read(
        self,
        name: &str,
        admitted: Admitted<Read>,
        method: Method,
    ) -> Response<Body> {
        let gateway = self.gateway;
        match name {
            "ModelReady" => {
                method
                    .unary(|m: ModelName| async move { model_ready(&gateway, &admitted, &m) })
                    .await
            }
            "ServerMetadata" => method.unary(|_: Empty| async move { Ok(server()) }).await,
            "ModelMetadata" => {
                let answer = |m: ModelName| async move {
                    let selector = select(&admitted, &m)?;
                    Ok(metadata::model(&gateway.engine.model(&m.name, &selector)?))
                };
                method.unary(answer).await
            }
            "ModelConfig" => {
                let answer = |m: ModelName| async move {
                    let selector = select(&admitted, &m)?;
                    let config = metadata::config(&gateway.engine.model(&m.name, &selector)?);
                    Ok(ModelConfigResponse { config: Some(config) })
                };
                method.unary(answer).await
            }
            "ModelStatistics" => {
                method
                    .unary(|m: ModelName| async move { statistics(&gateway, &admitted, &m) })
                    .await
            }
            "RepositoryIndex" => {
                let answer = |request: RepositoryIndexRequest| async move {
                    Ok(index(&gateway, &admitted, request.ready))
                };
                method.unary(answer).await
            }
            name if name.ends_with("Register") => {
                method
                    .unary(|_: Empty| async move { Err::<Empty, _>(shared_memory::refused()) })
                    .await
            }
            // Nothing is registered: an empty status, and nothing to unregister.
            _ => method.unary(|_: Empty| async move { Ok(Empty {}) }).await,
        }
    }

    /// The methods that steer.
    pub(super) async fn operate(
        self,
        name: &str,
        admitted: Admitted<Operate>,
        method: Method,
    ) -> Response<Body> {
        let gateway = self.gateway;
        match name {
            "RepositoryModelLoad" => {
                method.unary(|m: RepositoryModel| load(gateway, admitted, m)).await
            }
            "RepositoryModelUnload" => {
                method
                    .unary(|m: RepositoryModel| async move { unload(&gateway, &admitted, m) })
                    .await
            }
            "TraceSetting" => {
                method
                    .unary(|s: TraceSettingRequest| async move { trace(&gateway, &admitted, &s) })
                    .await
            }
            _ => method.unary(|s: LogSettings| async move { log(&gateway, &admitted, s) }).await,
        }
    }
}

fn health(gateway: &Gateway, check: &HealthCheckRequest) -> Result<HealthCheckResponse, Failure> {
    match check.service.as_str() {
        "" | "inference.GRPCInferenceService" => {
            Ok(HealthCheckResponse { status: if gateway.is_ready() { 1 } else { 2 } })
        }
        other => {
            let other: String = other.chars().take(200).collect();
            let message = format!("there is no service {other:?}");
            Err(Failure::new(StatusCode::NOT_FOUND, "unknown-service", message))
        }
    }
}

fn server() -> ServerMetadata {
    ServerMetadata {
        name: "aimass".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).into(),
    }
}

fn select(admitted: &Admitted<Read>, model: &ModelName) -> Result<Selector, Failure> {
    admitted.require(&model.name)?;
    Ok(model.version.parse()?)
}

fn model_ready(
    gateway: &Gateway,
    admitted: &Admitted<Read>,
    model: &ModelName,
) -> Result<Truth, Failure> {
    let selector = select(admitted, model)?;
    let (flow, tenant) = (gateway.admission.flow(), admitted.tenant());
    let closed = flow.closed(&*gateway.engine, tenant, &model.name, &selector);
    match gateway.engine.model(&model.name, &selector) {
        Ok(_) => {
            let value = closed.is_none() && gateway.telemetry.failing().is_none();
            Ok(Truth { value })
        }
        Err(error) if error.family() == Family::Unavailable => Ok(Truth { value: false }),
        Err(error) => Err(error.into()),
    }
}

fn statistics(
    gateway: &Gateway,
    admitted: &Admitted<Read>,
    model: &ModelName,
) -> Result<ModelStatisticsResponse, Failure> {
    if !model.name.is_empty() {
        admitted.require(&model.name)?;
    }
    let mut all = gateway.engine.statistics(&model.name, &model.version.parse()?)?;
    all.retain(|one| admitted.may_use(&one.model));
    Ok(ModelStatisticsResponse { model_stats: all.iter().map(metadata::statistics).collect() })
}

fn index(gateway: &Gateway, admitted: &Admitted<Read>, ready: bool) -> RepositoryIndexResponse {
    let mut rows = gateway.engine.versions();
    rows.retain(|row| admitted.may_use(&row.model) && (!ready || settings::is_ready(row)));
    let models = rows.into_iter().map(|row| ModelIndex {
        name: row.model.to_string(),
        version: row.version.to_string(),
        state: settings::state(&row).to_owned(),
        reason: row.reason,
    });
    RepositoryIndexResponse { models: models.collect() }
}

/// The model that Triton's or KServe's client means.
fn meant(request: RepositoryModel) -> Result<String, Failure> {
    let RepositoryModel { first, second, parameters } = request;
    if let Some(name) = parameters.keys().find(|name| *name != "unload_dependents") {
        return Err(settings::load_parameter(name));
    }
    Ok(if second.is_empty() { first } else { second })
}

async fn load(
    gateway: Arc<Gateway>,
    admitted: Admitted<Operate>,
    request: RepositoryModel,
) -> Result<RepositoryModelDone, Failure> {
    let model_name = meant(request)?;
    admitted.require(&model_name)?;
    gateway.engine.load(&model_name, admitted.deadline()).await?;
    Ok(RepositoryModelDone { model_name, done: true })
}

fn unload(
    gateway: &Gateway,
    admitted: &Admitted<Operate>,
    request: RepositoryModel,
) -> Result<RepositoryModelDone, Failure> {
    let model_name = meant(request)?;
    admitted.require(&model_name)?;
    gateway.engine.unload(&model_name)?;
    Ok(RepositoryModelDone { model_name, done: true })
}

fn trace(
    gateway: &Gateway,
    admitted: &Admitted<Operate>,
    request: &TraceSettingRequest,
) -> Result<TraceSettingResponse, Failure> {
    if !request.model_name.is_empty() {
        admitted.require(&request.model_name)?;
        gateway.engine.model(&request.model_name, &Selector::Default)?;
        if request.settings.values().any(|setting| !setting.value.is_empty()) {
            return Err(settings::model_trace());
        }
    }
    for (name, setting) in &request.settings {
        let values: Vec<&str> = setting.value.iter().map(String::as_str).collect();
        settings::set_trace(&*gateway.observation, name, &values)?;
    }
    let settings = settings::trace(&*gateway.observation)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), TraceValue { value: vec![value] }));
    Ok(TraceSettingResponse { settings: settings.collect() })
}

fn log(
    gateway: &Gateway,
    admitted: &Admitted<Operate>,
    request: LogSettings,
) -> Result<LogSettings, Failure> {
    let _ = admitted.tenant();
    let wanted = request.settings.into_iter().filter_map(|(name, value)| {
        let value = match value.choice? {
            LogChoice::Bool(value) => LogSetting::Bool(value),
            LogChoice::Uint32(value) => LogSetting::Number(u64::from(value)),
            LogChoice::Text(value) => LogSetting::Text(value),
        };
        Some((name, value))
    });
    settings::set_log(&*gateway.observation, wanted)?;
    let settings = settings::log(&*gateway.observation).into_iter().map(|(name, value)| {
        let choice = Some(match value {
            LogSetting::Bool(value) => LogChoice::Bool(value),
            LogSetting::Number(value) => {
                LogChoice::Uint32(u32::try_from(value).unwrap_or(u32::MAX))
            }
            LogSetting::Text(value) => LogChoice::Text(value),
        });
        (name.to_owned(), LogValue { choice })
    });
    Ok(LogSettings { settings: settings.collect() })
}
