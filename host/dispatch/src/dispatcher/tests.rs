//! Several devices: what runs at the same time, and what the loss of one leaves.

use super::*;
use crate::SystemClock;
use aimass_graph::{CompileOptions, Dim, Gpu, GpuOptions, GraphBuilder, GraphLimits, compile};
use aimass_tensor::DType;
use aimass_vgpu::{Settings, Vgpu};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Far longer than a busy machine takes to start three runs.
const PATIENCE: Duration = Duration::from_secs(60);

fn two_gpus(fail: &[(&str, u64, i32)]) -> (Vgpu, [Arc<Gpu>; 2]) {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    let vgpu = aimass_vgpu::load(&Settings {
        devices: 2,
        ptx: Some(images.into()),
        fail: fail.iter().map(|(name, nth, code)| ((*name).to_owned(), *nth, *code)).collect(),
        ..Settings::default()
    });
    let gpu = |number| Gpu::open(number, &GpuOptions::default()).unwrap();
    (vgpu.unwrap(), [gpu(0), gpu(1)])
}

/// Squares of a batch.
fn squares(device: Option<&Arc<Gpu>>) -> Arc<Plan> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Batch]).unwrap();
    let y = builder.mul(x, x).unwrap();
    builder.output("y", y).unwrap();
    let options = CompileOptions { device: device.cloned(), ..CompileOptions::default() };
    Arc::new(compile(builder.finish().unwrap(), &options).unwrap())
}

fn call(plan: &Arc<Plan>) -> PlanCall {
    PlanCall {
        plan: plan.clone(),
        inputs: vec![Tensor::from_slice(&[2], &[3.0f32, -2.0]).unwrap()],
        tenant: Arc::from("tenant"),
        deadline: Instant::now() + 10 * PATIENCE,
        slot: None,
    }
}

fn for_both() -> DispatchConfig {
    DispatchConfig { devices: vec![0, 1], ..DispatchConfig::default() }
}

/// A run that goes on only when `wanted` of them are under way; none of them has met in vain.
fn meeting(wanted: usize, in_vain: Arc<AtomicUsize>) -> Box<RunPlan> {
    let met = (Mutex::new(0usize), Condvar::new());
    Box::new(move |plan, inputs, state| {
        let mut arrived = lock(&met.0);
        *arrived += 1;
        met.1.notify_all();
        let alone = |arrived: &mut usize| *arrived < wanted;
        let (arrived, waited) = met.1.wait_timeout_while(arrived, PATIENCE, alone).unwrap();
        drop(arrived);
        in_vain.fetch_add(usize::from(waited.timed_out()), Ordering::Relaxed);
        plan.run(inputs, state)
    })
}

#[tokio::test]
async fn two_devices_and_the_cpu_run_at_the_same_time() {
    let (_vgpu, [first, second]) = two_gpus(&[]);
    let in_vain = Arc::new(AtomicUsize::new(0));
    let run = meeting(3, in_vain.clone());
    let dispatcher = Dispatcher::start(for_both(), Arc::new(SystemClock), run);
    let plans = [squares(None), squares(Some(&first)), squares(Some(&second))];
    let calls = plans.map(|plan| {
        let dispatcher = dispatcher.clone();
        tokio::spawn(async move { dispatcher.call(call(&plan)).await })
    });
    for call in calls {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.outputs[0].as_slice::<f32>().unwrap(), [9.0, 4.0]);
        assert_eq!(answer.batch_calls, 1);
    }
    assert_eq!(in_vain.load(Ordering::Relaxed), 0, "runs waited for each other's end");
    assert_eq!((first.state().runs, second.state().runs), (1, 1));
    assert_eq!(dispatcher.stats().counted.launches, 3);
}

#[tokio::test]
async fn calls_of_one_device_still_gather_while_its_run_takes() {
    let (_vgpu, [first, _]) = two_gpus(&[]);
    let in_vain = Arc::new(AtomicUsize::new(0));
    // The run on the CPU and the first on the device meet; what came meanwhile is one launch.
    let run = meeting(2, in_vain.clone());
    let dispatcher = Dispatcher::start(for_both(), Arc::new(SystemClock), run);
    let on_device = squares(Some(&first));
    let spawn = |plan: &Arc<Plan>| {
        let (dispatcher, call) = (dispatcher.clone(), call(plan));
        tokio::spawn(async move { dispatcher.call(call).await })
    };
    let running = spawn(&on_device);
    while dispatcher.stats().counted.waiting > 0 || dispatcher.plan_stats().is_empty() {
        tokio::task::yield_now().await;
    }
    let gathered = [0; 5].map(|_| spawn(&on_device));
    while dispatcher.stats().counted.waiting < 5 {
        tokio::task::yield_now().await;
    }
    assert!(spawn(&squares(None)).await.unwrap().is_ok());
    assert_eq!(running.await.unwrap().unwrap().batch_calls, 1);
    for call in gathered {
        assert_eq!(call.await.unwrap().unwrap().batch_calls, 5);
    }
    assert_eq!(in_vain.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_loss_of_one_device_leaves_the_other_working() {
    const LAUNCH_FAILED: i32 = 719;
    let (_vgpu, [first, second]) = two_gpus(&[("cuLaunchKernel", 1, LAUNCH_FAILED)]);
    let dispatcher = Dispatcher::new(for_both(), Arc::new(SystemClock));
    let plans = [squares(Some(&first)), squares(Some(&second))];
    for turn in 1..=3 {
        for plan in &plans {
            let answer = dispatcher.call(call(plan)).await.unwrap();
            assert_eq!(answer.outputs[0].as_slice::<f32>().unwrap(), [9.0, 4.0]);
        }
        let (first, second) = (first.state(), second.state());
        assert_eq!((first.lost.is_some(), first.runs, first.fallbacks), (true, 0, 1));
        assert_eq!((second.lost, second.runs, second.fallbacks), (None, turn, 0));
    }
}

#[tokio::test]
async fn a_plan_of_a_device_that_the_dispatcher_does_not_know_runs_where_the_cpus_do() {
    let (_vgpu, [first, _]) = two_gpus(&[]);
    let config = DispatchConfig { devices: vec![1], ..DispatchConfig::default() };
    let dispatcher = Dispatcher::new(config, Arc::new(SystemClock));
    assert!(dispatcher.call(call(&squares(Some(&first)))).await.is_ok());
    assert_eq!(dispatcher.shared.lanes.len(), 2);
    assert_eq!(first.state().runs, 1);
}
