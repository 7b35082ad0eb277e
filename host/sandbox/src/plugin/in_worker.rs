//! Plugins of the untrusted tier: what their calls do on this side, and what a worker does on its own.

use super::graphs::{Graphs, check_plan_names};
use super::{Body, CallStats, Parameter, Plugin};
use crate::composition::Outside;
use crate::error::{Cause, PluginError, SandboxError};
use crate::host_api::HostError;
use crate::host_api::graph::GraphHandle;
use crate::host_api::graph::record::replay;
use crate::instance::{Failure, state};
use crate::package::PackageInfo;
use crate::plans::TRACED;
use crate::sandbox::Sandbox;
use crate::signature::{NamedTensors, PluginSignature};
use crate::state::CallContext;
use crate::worker::messages::{self, Job, Refusal};
use crate::worker::remote::WorkerPlugin;
use crate::worker::service::Scope;
use crate::worker::wire::{Wire, tensors_in, tensors_out};
use aimass_graph::Graph;
use aimass_tensor::Buffer;
use std::sync::Arc;
use std::time::Duration;

impl Plugin {
    /// A plugin whose instances live in workers, described in one of them.
    pub(crate) async fn in_worker(
        sandbox: Arc<Sandbox>,
        package: Arc<PackageInfo>,
        remote: WorkerPlugin,
    ) -> Result<Arc<Plugin>, SandboxError> {
        const FUNCTION: &str = "describe";
        let described = remote.describe(&sandbox, &package).await;
        let body = Body::Worker(remote);
        let mut plugin = Plugin { sandbox, package, body, signature: Arc::default() };
        let described = described.and_then(|answer| {
            let bad = |message| (Cause::BadOutput { message }, None);
            Ok(match answer {
                Ok(signature) => Ok(signature.checked().map_err(bad)?),
                Err(refusal) => Err(refusal),
            })
        });
        match described {
            Ok(Ok(signature)) => plugin.signature = Arc::new(signature),
            Ok(Err(Refusal { code, message })) => {
                let plugin = plugin.package.name.clone();
                return Err(SandboxError::Refused { plugin, code, message });
            }
            Err((Cause::Host { message }, _)) => {
                let plugin = plugin.package.name.clone();
                return Err(SandboxError::Image { plugin, message });
            }
            Err(failure) => return Err(plugin.failed_with(FUNCTION, failure).into()),
        }
        Ok(Arc::new(plugin))
    }

    /// Answers one request in the tenant's worker.
    pub(super) async fn process_remote(
        &self,
        remote: &WorkerPlugin,
        (context, mut outside): (CallContext, Outside),
        parameters: Vec<(String, Parameter)>,
        inputs: NamedTensors,
    ) -> Result<(NamedTensors, CallStats), Failure> {
        let _permit = self.permit().map_err(|cause| (cause, None))?;
        let plans = context.plans.list().iter();
        let job = Job::Process(messages::Process {
            tenant: context.tenant.clone(),
            model_version: context.plans.model_version().clone(),
            plans: plans.map(|(name, plan)| (name.clone(), plan.signature().clone())).collect(),
            traced: context.plans.traced(TRACED).map(|model| Arc::new(model.signature().clone())),
            parameters,
            inputs: tensors_out(&inputs),
        });
        let (sandbox, package) = self.sides();
        let scope = Scope { sandbox, package, context: &context, outside: &mut outside };
        let messages::Processed { outputs, stats } = remote.call(scope, job).await?;
        let outputs = self.check_outputs(tensors_in(outputs), outside.emitted);
        let outputs = outputs.map_err(|cause| (cause, None))?;
        Ok((outputs, stats))
    }

    /// In a worker: the graphs of the package's files as records of how they were built.
    ///
    /// # Errors
    /// As [`Plugin::load_graph`].
    pub(crate) async fn load_records(
        &self,
    ) -> Result<(Vec<(String, Vec<u8>)>, PluginSignature, CallStats), PluginError> {
        let (graphs, signature, stats) = self.load_handles().await?;
        let record = |(name, made): (Arc<str>, GraphHandle)| (name.to_string(), made.record);
        Ok((graphs.into_iter().map(record).collect(), signature, stats))
    }

    /// Graphs of a worker, built again here.
    pub(super) fn rebuilt(
        &self,
        loaded: messages::LoadedGraphs,
    ) -> Result<(Graphs, PluginSignature, CallStats), Cause> {
        let bad = |message| Cause::BadOutput { message };
        check_plan_names(loaded.plans.iter().map(|(name, _)| name.as_str()))?;
        let signature = loaded.signature.checked().map_err(bad)?;
        let graphs = loaded.plans.into_iter().map(|(name, record)| {
            let graph = self.replayed(record.0)?;
            Ok((name.into(), graph))
        });
        Ok((graphs.collect::<Result<_, Cause>>()?, signature, loaded.stats))
    }

    /// The graph of a worker's record, built again under the limits of a call.
    ///
    /// # Errors
    /// [`Cause::BadOutput`] if it is no record, or of no graph.
    pub(crate) fn replayed(&self, record: Buffer) -> Result<Graph, Cause> {
        let context = CallContext::system(self.package.limits.load_wall_max);
        let mut state = state(&self.sandbox, &self.package, context);
        replay(&mut state, record).map_err(|error| {
            let message = match error {
                HostError::Answer(error) => error.message,
                HostError::Trap(error) => format!("{error:#}"),
            };
            Cause::BadOutput { message: format!("a graph cannot be built again: {message}") }
        })
    }

    /// Has a worker do something on the server's own behalf.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    pub(crate) async fn ask<T: Wire>(
        &self,
        function: &'static str,
        wall_max: Duration,
        job: Job,
    ) -> Result<T, PluginError> {
        let Body::Worker(remote) = &self.body else {
            return Err(self.failed(function, self.no_such_function(function)));
        };
        let _permit = self.permit().map_err(|cause| self.failed(function, cause))?;
        let context = CallContext::system(wall_max);
        let (sandbox, package) = self.sides();
        let outside = &mut Outside::default();
        let called = remote.call(Scope { sandbox, package, context: &context, outside }, job).await;
        called.map_err(|failure| self.failed_with(function, failure))
    }
}
