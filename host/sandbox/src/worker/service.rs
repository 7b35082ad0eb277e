//! What the host does for a call while a worker runs it.
//!
//! Everything that a worker says is checked here as if its guest had said it: plans by their place in the call's
//! own list, files by the package's grants, other models by the caller object of the call, items and tensors
//! after they were copied out of shared memory. A worker that breaks the protocol, or asks for more than a
//! guest may, is killed; the calls of other workers do not notice.

use super::channel::{Packet, Place};
use super::messages::{
    ANSWER, Counted, DONE, Failed, GROW, InferModel, LOG, Logged, REQUEST, ReadFile, Refused,
    Request, RunPlan, SEGMENT,
};
use super::process::{Lane, Worker};
use super::shared_file::read_message;
use super::wire::{Bytes, Malformed, NamedTensor, Reader, Taken, Wire, Writer};
use super::wire::{tensors_in, tensors_out};
use crate::composition::{EmittedItem, ItemHeld, ModelCall, Outside};
use crate::error::{Cause, ErrorFamily};
use crate::host_api::emit::{check_item, send_item};
use crate::host_api::models::{call_model, checked};
use crate::host_api::plans::{failed, run_traced};
use crate::host_api::tensor::no_host_bytes;
use crate::host_api::{HostError, HostResult, log};
use crate::instance::Failure;
use crate::metrics::Metrics;
use crate::package::PackageInfo;
use crate::plans::{TRACED, TracedPlanCall};
use crate::sandbox::Sandbox;
use crate::state::{Account, CallContext, LimitHit};
use crate::worlds::convert::error_in;
use aimass_dispatch::{PlanCall, SlotKey};
use aimass_telemetry::call::room;
use aimass_telemetry::trace::SpanName;
use aimass_tensor::{Buffer, Tensor};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Packets of a call beside those of its host calls: logs that were cut, segments.
const PACKETS_SPARE: u64 = 1_000;

/// For whom a worker runs a call, and what the call may reach meanwhile.
pub(crate) struct Scope<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) package: &'a PackageInfo,
    pub(crate) context: &'a CallContext,
    pub(crate) outside: &'a mut Outside,
}

/// What the host has at hand while a worker runs a call.
pub(super) struct Service<'a> {
    scope: Scope<'a>,
    /// As the call had it first, or as its last item renewed it.
    deadline: Instant,
    grace: Duration,
    packets: u64,
    log_bytes: u64,
    /// Host memory of items that wait to be read.
    items: Arc<Account>,
}

impl<'a> Service<'a> {
    /// For a call whose worker may answer this long after its deadline.
    pub(super) fn new(scope: Scope<'a>, grace: Duration) -> Service<'a> {
        let (deadline, limits) = (scope.context.deadline, &scope.package.limits);
        let items = Account::new(limits.host_bytes_max);
        Service { scope, deadline, grace, packets: 0, log_bytes: 0, items }
    }

    /// When the worker must have said its next word.
    pub(super) fn until(&self) -> Instant {
        self.deadline + self.grace
    }

    /// Serves the call until it ends.
    ///
    /// # Errors
    /// What the worker says, or what became of it.
    pub(super) async fn converse<T: Wire>(&mut self, lane: &mut Lane) -> Result<T, Failure> {
        loop {
            let worker = lane.worker.clone();
            let Some(packet) = in_time(&worker, self.until(), lane.next()).await? else {
                return Err(alone(Cause::WorkerLost { reason: worker.reason() }));
            };
            match self.answer(lane, packet).await {
                Ok(None) => {}
                Ok(Some(done)) => {
                    lane.ended = true;
                    let answer: Taken<Result<T, Failed>> =
                        done.only_after(|reader| self.close(reader));
                    match answer {
                        Ok(answer) => return answer.map_err(failure),
                        Err(error) => return Err(broken(lane, &error)),
                    }
                }
                Err(Trouble::Late(late)) => return Err(late),
                Err(Trouble::Broken(error)) => return Err(broken(lane, &error)),
            }
        }
    }

    /// Takes one packet; answers the last message of the call.
    async fn answer(&mut self, lane: &mut Lane, packet: Packet) -> Result<Option<Reader>, Trouble> {
        self.packets += 1;
        let packets_max = self.scope.package.limits.host_calls_max.saturating_add(PACKETS_SPARE);
        if self.packets > packets_max {
            return Err(std::io::Error::other("it sent more packets than a call may").into());
        }
        let (kind, bytes) = (packet.header.kind, packet.header.len);
        let message = open(lane, packet)?;
        match kind {
            DONE => return Ok(Some(message)),
            REQUEST => {
                let request = message.only().map_err(std::io::Error::other)?;
                let answer = self.serve(request, bytes).await;
                let (worker, until) = (lane.worker.clone(), self.until());
                let send = async {
                    match lane.send(ANSWER, &answer.message).await {
                        Ok(()) => Ok(()),
                        Err(_) => lane.send(ANSWER, &answer.without).await,
                    }
                };
                in_time(&worker, until, send).await.map_err(Trouble::Late)??;
            }
            LOG => self.log(message.only().map_err(std::io::Error::other)?),
            GROW => {
                let bytes: u64 = message.only().map_err(std::io::Error::other)?;
                let (worker, until) = (lane.worker.clone(), self.until());
                let grown = lane.grow(SEGMENT, bytes);
                in_time(&worker, until, grown).await.map_err(Trouble::Late)??;
            }
            _ => {
                let expected = "a packet of a call";
                return Err(std::io::Error::other(Malformed { expected }).into());
            }
        }
        Ok(None)
    }

    /// Does what a guest asked for in a message of so many bytes.
    async fn serve(&mut self, request: Request, bytes: u64) -> Answer {
        match request {
            Request::Run(run) => Answer::refusable(self.run(run).await),
            Request::RunTraced(inputs) => Answer::refusable(self.run_traced(inputs).await),
            Request::Infer(call) => {
                let outputs = self.infer(call).await;
                Answer::refusable(outputs.map(|outputs| tensors_out(&outputs)))
            }
            Request::Emit(outputs) => Answer::refusable(self.emit(outputs, bytes).await),
            Request::Read(read) => {
                let full = "the range does not fit the memory shared with the worker";
                let without: Result<Bytes, String> = Err(full.into());
                Answer { message: Writer::of(&self.read(&read)), without: Writer::of(&without) }
            }
        }
    }

    async fn run(&self, run: RunPlan) -> HostResult<Vec<Tensor>> {
        self.reset(&run.resets);
        let context = self.scope.context;
        let plans = context.plans.list();
        let (Some((_, plan)), Some(dispatcher)) =
            (plans.get(run.plan as usize), &self.scope.sandbox.dispatcher)
        else {
            return Err(HostError::input("plan", "there is no such plan"));
        };
        let call = PlanCall {
            plan: plan.clone(),
            inputs: run.inputs,
            tenant: context.tenant.clone(),
            deadline: self.deadline,
            slot: run.slot.map(|sequence| self.slot(&sequence)),
        };
        let answer = room(SpanName::Plans, Vec::new, dispatcher.call(call));
        let answer = self.before_deadline(answer).await?;
        answer.map(|answer| answer.outputs).map_err(failed)
    }

    async fn run_traced(&self, inputs: Vec<Tensor>) -> HostResult<Vec<Tensor>> {
        let Some(model) = self.scope.context.plans.traced(TRACED) else {
            return Err(HostError::input("plan", "there is no such plan"));
        };
        let (expected, got) = (model.signature().inputs.len(), inputs.len());
        if expected != got {
            let message = format!("the plan wants {expected} inputs, got {got}");
            return Err(HostError::input("inputs", message));
        }
        let tenant = self.scope.context.tenant.clone();
        let call = TracedPlanCall { inputs, tenant, deadline: self.deadline };
        self.before_deadline(run_traced(&**model, call)).await?
    }

    async fn infer(&self, call: InferModel) -> HostResult<crate::NamedTensors> {
        let InferModel { model, inputs, parameters } = call;
        let inputs = tensors_in(inputs);
        let call = checked(ModelCall { model, inputs, parameters, deadline: self.deadline })?;
        call_model(self.scope.outside.composition.models.clone(), call).await
    }

    async fn emit(&mut self, outputs: Vec<NamedTensor>, bytes: u64) -> HostResult<()> {
        let outputs = tensors_in(outputs);
        let (limits, outside) = (&self.scope.package.limits, &mut *self.scope.outside);
        check_item(&outside.outputs, limits, &outputs)?;
        // The tensors of an item keep the whole message.
        let charge = self.items.charge(bytes);
        let charge = charge.ok_or_else(|| no_host_bytes(limits, &self.items, bytes))?;
        let item = EmittedItem { outputs, held: ItemHeld::new(vec![charge]) };
        send_item(outside.composition.items.clone(), item, self.deadline).await?;
        self.deadline = outside.item_sent(self.deadline, Instant::now());
        Ok(())
    }

    async fn before_deadline<F: Future>(&self, work: F) -> HostResult<F::Output> {
        let done = tokio::time::timeout_at(self.deadline.into(), work).await;
        done.map_err(|_elapsed| LimitHit::Deadline.into())
    }

    fn slot(&self, sequence: &str) -> SlotKey {
        let context = self.scope.context;
        SlotKey {
            tenant: context.tenant.clone(),
            model_version: context.plans.model_version().clone(),
            sequence: sequence.into(),
        }
    }

    fn reset(&self, sequences: &[String]) {
        let Some(dispatcher) = &self.scope.sandbox.dispatcher else { return };
        for sequence in sequences {
            dispatcher.end_slot(&self.slot(sequence));
        }
    }

    fn read(&self, read: &ReadFile) -> Result<Bytes, String> {
        let ReadFile { file, offset, len } = read;
        let package = self.scope.package;
        let granted = package.may_read(file).then(|| package.files.open(file)).flatten();
        let source = granted.ok_or_else(|| format!("there is no file `{file}`"))?;
        let end = offset.checked_add(*len).filter(|&end| end <= source.len());
        let end = end.filter(|_| *len <= package.limits.read_bytes_max);
        let end = end.ok_or("the range is outside of the file, or too long")?;
        let bytes = source.read(*offset..end).map_err(|error| error.to_string())?;
        Ok(Bytes(bytes))
    }

    fn log(&mut self, logged: Logged) {
        let bytes = logged.message.len() as u64;
        let Scope { sandbox, package, context, outside: _ } = &self.scope;
        if self.log_bytes.saturating_add(bytes) > package.limits.log_bytes_max {
            Metrics::add(&sandbox.metrics.log_bytes_dropped, bytes);
            return;
        }
        self.log_bytes += bytes;
        log::tell(package, &context.tenant, logged.level, &logged.message);
    }

    /// Takes what comes before the answer in the last message.
    fn close(&self, message: &mut Reader) -> Taken<()> {
        self.reset(&Vec::take(message)?);
        let counted = Counted::take(message)?;
        let metrics = &self.scope.sandbox.metrics;
        Metrics::add(&metrics.host_calls, counted.host_calls);
        Metrics::add(&metrics.bytes_read, counted.bytes_read);
        Metrics::add(&metrics.bytes_created, counted.bytes_created);
        Metrics::add(&metrics.log_bytes_dropped, counted.log_bytes_dropped);
        Ok(())
    }
}

/// What a guest gets, and what it gets where that does not fit the shared memory.
struct Answer {
    message: Writer,
    without: Writer,
}

impl Answer {
    fn refusable<T: Wire>(answer: HostResult<T>) -> Answer {
        let full = "the outputs do not fit the memory shared with the worker";
        let full = HostError::answer(ErrorFamily::Limit, "shared-bytes", full);
        let without: Result<T, Refused> = Err(refused(full));
        Answer { message: Writer::of(&answer.map_err(refused)), without: Writer::of(&without) }
    }
}

/// Why a call cannot go on.
enum Trouble {
    /// The worker was too slow, and is killed.
    Late(Failure),
    /// It said, or did, what it must not.
    Broken(std::io::Error),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Broken(error)
    }
}

/// A failure without a backtrace.
pub(super) fn alone(cause: Cause) -> Failure {
    (cause, None)
}

/// Waits for a worker until a deadline and the grace after it; kills one that takes longer.
///
/// # Errors
/// [`Cause::Deadline`].
pub(super) async fn in_time<F: Future>(
    worker: &Worker,
    until: Instant,
    work: F,
) -> Result<F::Output, Failure> {
    tokio::time::timeout_at(until.into(), work).await.map_err(|_elapsed| {
        worker.kill("it did not stop at a deadline");
        alone(Cause::Deadline)
    })
}

/// Copies a message out of the packet, or out of the call's segment.
fn open(lane: &Lane, packet: Packet) -> std::io::Result<Reader> {
    let bytes = match packet.header.place {
        Place::Inline => Buffer::shared(Arc::new(packet.inline)),
        Place::Segment(number) => {
            let segment = lane.segment(number).filter(|own| packet.header.len <= own.bytes());
            let segment = segment.ok_or_else(|| {
                std::io::Error::other(Malformed { expected: "a message in the call's segment" })
            })?;
            read_message(&segment.file, packet.header.len as usize)?
        }
        Place::File => {
            return Err(std::io::Error::other(Malformed { expected: "no file" }));
        }
    };
    Ok(Reader::new(bytes))
}

/// Kills a worker that said something that it must not.
fn broken(lane: &mut Lane, error: &impl ToString) -> Failure {
    lane.ended = true;
    lane.worker.kill(&format!("it broke the protocol: {}", error.to_string()));
    alone(Cause::WorkerLost { reason: lane.worker.reason() })
}

fn failure(failed: Failed) -> Failure {
    (failed.cause, failed.backtrace.map(Arc::new))
}

/// What a guest in a worker gets for a host call that failed.
fn refused(error: HostError) -> Refused {
    match error {
        HostError::Answer(error) => Refused::Answer(error_in(error)),
        HostError::Trap(_) => Refused::Deadline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoxFuture;
    use crate::composition::{ItemSink, ModelAnswer, ModelCaller, SinkGone};
    use crate::engine::worker_engine;
    use crate::package::{NoFiles, World};
    use crate::signature::{PluginSignature, PluginTensorSpec};
    use crate::{Limits, NamedTensors, Parameter};
    use aimass_tensor::DType;
    use std::sync::Mutex;

    /// Answers what it was given.
    struct Echo;

    impl ModelCaller for Echo {
        fn call(&self, call: ModelCall) -> ModelAnswer<'_> {
            Box::pin(async move { Ok(call.inputs) })
        }
    }

    /// Keeps every item.
    #[derive(Default)]
    struct Kept(Mutex<Vec<EmittedItem>>);

    impl ItemSink for Kept {
        fn send(&self, item: EmittedItem) -> BoxFuture<'_, Result<(), SinkGone>> {
            self.0.lock().unwrap().push(item);
            Box::pin(async { Ok(()) })
        }
    }

    struct Sides {
        sandbox: Arc<Sandbox>,
        package: PackageInfo,
        context: CallContext,
        outside: Outside,
    }

    impl Sides {
        fn new(limits: Limits) -> Sides {
            let engine = Sandbox::engine(Some(1), worker_engine).unwrap();
            let package = PackageInfo {
                name: "acme/test".into(),
                version: "1.0.0".into(),
                digest: [0; 32],
                world: World::Model,
                capabilities: Default::default(),
                limits,
                config: b"{}"[..].into(),
                files: Arc::new(NoFiles),
            };
            let y = PluginTensorSpec {
                name: "y".into(),
                dtype: Some(DType::F32),
                dims: None,
                description: String::new(),
            };
            let outputs = Arc::new(PluginSignature { inputs: vec![], outputs: vec![y] });
            Sides {
                sandbox: Sandbox::of_worker(engine).unwrap(),
                package,
                context: CallContext::system(Duration::from_secs(60)),
                outside: Outside { outputs, ..Outside::default() },
            }
        }

        fn service(&mut self) -> Service<'_> {
            let Sides { sandbox, package, context, outside } = self;
            Service::new(Scope { sandbox, package, context, outside }, Duration::ZERO)
        }
    }

    fn tensors(names: &[&str], elements: usize) -> Vec<NamedTensor> {
        let tensor = Tensor::from_slice(&[elements], &vec![1f32; elements]).unwrap();
        let named: NamedTensors = names.iter().map(|&name| (name.into(), tensor.clone())).collect();
        tensors_out(&named)
    }

    fn code<T>(answer: HostResult<T>) -> String {
        match answer {
            Ok(_) => "ok".into(),
            Err(HostError::Answer(error)) => error_in(error).code,
            Err(HostError::Trap(error)) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn what_a_worker_says_of_a_call_of_a_model_is_held_to_the_contract() {
        let mut sides = Sides::new(Limits::default());
        let names: Vec<String> = (0..65).map(|at| format!("x{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let long = "m".repeat(129);
        let check = async |sides: &mut Sides, model: &str, names: &[&str], parameters: usize| {
            let parameters = vec![("p".to_owned(), Parameter::Integer(1)); parameters];
            let inputs = tensors(names, 1);
            let call = InferModel { model: model.to_owned(), inputs, parameters };
            code(sides.service().infer(call).await)
        };
        assert_eq!(check(&mut sides, "m", &["x"], 0).await, "model", "nobody may be called");
        sides.outside.composition.models = Some(Arc::new(Echo));
        assert_eq!(check(&mut sides, &long[..128], &names[..64], 64).await, "ok");
        assert_eq!(check(&mut sides, &long, &["x"], 0).await, "model-name");
        assert_eq!(check(&mut sides, "m", &names, 0).await, "inputs");
        assert_eq!(check(&mut sides, "m", &["x"], 65).await, "inputs");
        assert_eq!(check(&mut sides, "m", &[""], 0).await, "inputs");
        assert_eq!(check(&mut sides, "m", &[&"x".repeat(129)], 0).await, "inputs");
    }

    #[tokio::test]
    async fn what_a_worker_emits_is_held_to_description_and_limits_and_charged_until_it_is_read() {
        let limits = Limits { output_bytes_max: 400, host_bytes_max: 1000, ..Limits::default() };
        let mut sides = Sides::new(limits);
        let emitted = async |service: &mut Service<'_>, names: &[&str], elements: usize| {
            code(service.emit(tensors(names, elements), elements as u64 * 4 + 100).await)
        };
        assert_eq!(emitted(&mut sides.service(), &["y"], 1).await, "streaming-only");
        let sink = Arc::new(Kept::default());
        sides.outside.composition.items = Some(sink.clone());
        let mut service = sides.service();
        let cases: [(&[&str], usize, &str); 9] = [
            (&["z"], 1, "bad-output"),
            (&["y", "y"], 1, "bad-output"),
            (&[""], 1, "bad-output"),
            (&[], 1, "bad-output"),
            (&["y"; 65], 1, "bad-output"),
            (&["y"], 101, "output-bytes"),
            (&["y"], 100, "ok"),
            (&["y"], 100, "ok"),
            (&["y"], 1, "host-bytes"),
        ];
        for (names, elements, expected) in cases {
            let got = emitted(&mut service, names, elements).await;
            assert_eq!(got, expected, "{names:?} of {elements}");
        }
        assert_eq!(service.scope.outside.emitted, 2);
        sink.0.lock().unwrap().clear();
        assert_eq!(emitted(&mut service, &["y"], 1).await, "ok", "what was read is free again");
    }

    #[tokio::test]
    async fn a_traced_model_that_is_none_is_not_run() {
        let mut sides = Sides::new(Limits::default());
        assert_eq!(code(sides.service().run_traced(Vec::new()).await), "plan");
    }
}
