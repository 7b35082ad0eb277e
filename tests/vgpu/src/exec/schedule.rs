//! Which block and which warp runs next, and what a barrier needs to open.

use super::device_memory::DeviceMemory;
use super::machine::Machine;
use super::step::Pause;
use super::warp::{Wait, Warp};
use super::{Counters, Launch, Touched, Trouble};
use crate::code::Code;
use crate::ptx::instruction::Barrier;
use crate::random::Random;

/// How warps of a block take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// Each runs until it must stop, in order.
    Plain,
    /// A few instructions each, in turn.
    RoundRobin,
    /// One warp runs as far as it can before the others move.
    RunsAhead(usize),
    /// Only a random part of the warps runs, a while.
    Subset,
}

/// Executes a launch: every block, in an order that the seed chooses. `touched` is told of global memory.
///
/// # Errors
/// The first failure, which names kernel, block, thread and line.
pub(crate) fn run(
    launch: &Launch<'_>,
    memory: &mut DeviceMemory,
    touched: Option<&mut Touched>,
) -> Result<Counters, Trouble> {
    let mut random = Random::new(launch.seed.wrapping_mul(0x9e37_79b9).wrapping_add(launch.number));
    let blocks = launch.grid.iter().product::<u32>();
    let mut order: Vec<u32> = (0..blocks).collect();
    if launch.seed != 0 {
        random.shuffle(&mut order);
    }
    let threads = launch.block.iter().product::<u32>();
    let mut warps: Vec<Warp> =
        (0..threads.div_ceil(32)).map(|index| Warp::new(launch, index)).collect();
    let mut machine = Machine::new(launch, memory, touched);
    for block in order {
        machine.enter(block);
        let position = machine.block;
        warps.iter_mut().for_each(|warp| warp.enter(position));
        let policy =
            if launch.seed == 0 { Policy::Plain } else { policy(&mut random, warps.len()) };
        run_block(&mut machine, &mut warps, (policy, &mut random))?;
    }
    machine.counters.launches = 1;
    Ok(machine.counters)
}

fn policy(random: &mut Random, warps: usize) -> Policy {
    match random.below(3) {
        0 => Policy::RoundRobin,
        1 => Policy::RunsAhead(random.below(warps as u64) as usize),
        _ => Policy::Subset,
    }
}

/// Whether a warp can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Waits,
    Done,
}

fn run_block(
    machine: &mut Machine<'_>,
    warps: &mut [Warp],
    (policy, random): (Policy, &mut Random),
) -> Result<(), Trouble> {
    let mut states = vec![State::Ready; warps.len()];
    // Warps that arrived at a barrier without waiting for it.
    let mut arrivals: Vec<(usize, Wait)> = Vec::new();
    while states.iter().any(|state| *state != State::Done) {
        let ready: Vec<usize> = (0..warps.len()).filter(|at| states[*at] == State::Ready).collect();
        if ready.is_empty() {
            open_barrier(machine, warps, &mut states, &mut arrivals)?;
            continue;
        }
        for (at, quantum) in turn(policy, random, &ready) {
            let warp = &mut warps[at];
            let pause = machine
                .advance(warp, quantum)
                .map_err(|(pc, trouble)| located(machine, warp.index, pc, trouble))?;
            if warp.executed > machine.launch.steps {
                let text = format!("no end after {} instructions of a warp", warp.executed);
                let pc = warp.groups.first().map_or(0, |group| group.pc);
                let trouble = Trouble::new(Code::LAUNCH_TIMEOUT, 0, text);
                return Err(located(machine, warp.index, pc, trouble));
            }
            match (pause, warp.waits) {
                (Pause::Finished, _) => states[at] = State::Done,
                (Pause::Waits, Some(wait)) if wait.barrier == Barrier::Arrive => {
                    arrivals.push((at, wait));
                    warp.waits = None;
                }
                (Pause::Waits, _) => states[at] = State::Waits,
                (Pause::Quantum, _) => {}
            }
        }
        while can_open(warps, &states, &arrivals).is_some() {
            open_barrier(machine, warps, &mut states, &mut arrivals)?;
        }
    }
    Ok(())
}

/// Warps that run next and how many instructions each may execute.
fn turn(policy: Policy, random: &mut Random, ready: &[usize]) -> Vec<(usize, u64)> {
    let slice = 1_000_000;
    match policy {
        Policy::Plain => ready.iter().map(|at| (*at, slice)).collect(),
        Policy::RoundRobin => {
            let quantum = 1 + random.below(8);
            ready.iter().map(|at| (*at, quantum)).collect()
        }
        Policy::RunsAhead(ahead) => {
            let first = ready.iter().copied().find(|at| *at == ahead);
            let first = first.unwrap_or(ready[random.below(ready.len() as u64) as usize]);
            vec![(first, slice)]
        }
        Policy::Subset => {
            let mut some: Vec<usize> =
                ready.iter().copied().filter(|_| random.below(2) == 0).collect();
            if some.is_empty() {
                some.push(ready[random.below(ready.len() as u64) as usize]);
            }
            random.shuffle(&mut some);
            some.into_iter().map(|at| (at, 1 + random.below(64))).collect()
        }
    }
}

/// Warps that a barrier releases, and whether it opens; none if no barrier can.
fn can_open(
    warps: &[Warp],
    states: &[State],
    arrivals: &[(usize, Wait)],
) -> Option<(u32, Vec<usize>)> {
    let waiting = |number: u32| {
        let at = (0..warps.len()).filter(move |at| states[*at] == State::Waits);
        at.filter(move |at| warps[*at].waits.is_some_and(|wait| wait.number == number))
    };
    let live = states.iter().filter(|state| **state != State::Done).count();
    for number in 0..16 {
        let members: Vec<usize> = waiting(number).collect();
        let Some(first) = members.first().and_then(|at| warps[*at].waits) else { continue };
        let arrived = arrivals.iter().filter(|(_, wait)| wait.number == number).count();
        let needed = first.threads.map_or(live, |threads| threads as usize / 32);
        if members.len() + arrived >= needed {
            return Some((number, members));
        }
    }
    None
}

fn open_barrier(
    machine: &mut Machine<'_>,
    warps: &mut [Warp],
    states: &mut [State],
    arrivals: &mut Vec<(usize, Wait)>,
) -> Result<(), Trouble> {
    let Some((number, members)) = can_open(warps, states, arrivals) else {
        let stuck = warps.iter().filter_map(|warp| warp.waits.map(|wait| (warp.index, wait)));
        let stuck: Vec<(u32, Wait)> = stuck.collect();
        let (warp, pc) = stuck.first().map_or((0, 0), |(warp, wait)| (*warp, wait.pc));
        let text = format!("{} warps wait at barriers that nobody opens", stuck.len());
        let trouble = Trouble::new(Code::LAUNCH_FAILED, 0, text);
        return Err(located(machine, warp, pc, trouble));
    };
    check_same(machine, warps, &members)?;
    let waits: Vec<Wait> = members.iter().filter_map(|at| warps[*at].waits).collect();
    let votes = members.iter().zip(&waits).map(|(at, wait)| (warps[*at].live, wait.holds));
    let (lanes, holds) = votes.fold((0, 0), |(lanes, holds), (live, bits)| {
        (lanes + live.count_ones(), holds + bits.count_ones())
    });
    for (at, wait) in members.iter().zip(&waits) {
        let warp = &mut warps[*at];
        let live = warp.live;
        match wait.barrier {
            Barrier::Sync | Barrier::Arrive => {}
            Barrier::Popc => warp.registers.put_words(wait.d, &[holds; 32], live),
            Barrier::And => warp.put_pred(wait.d, if holds == lanes { live } else { 0 }, live),
            Barrier::Or => warp.put_pred(wait.d, if holds > 0 { live } else { 0 }, live),
        }
        warp.waits = None;
        states[*at] = State::Ready;
    }
    let mut joined = members;
    joined.extend(arrivals.iter().filter(|(_, wait)| wait.number == number).map(|(at, _)| *at));
    joined.sort_unstable();
    joined.dedup();
    arrivals.retain(|(_, wait)| wait.number != number);
    machine.clocks.join(&joined);
    Ok(())
}

/// A barrier of the whole block is one instruction for all its threads.
fn check_same(machine: &Machine<'_>, warps: &[Warp], members: &[usize]) -> Result<(), Trouble> {
    let mut waits =
        members.iter().filter_map(|at| warps[*at].waits.map(|wait| (warps[*at].index, wait)));
    let Some((first, wait)) = waits.next() else { return Ok(()) };
    let other = waits.find(|(_, other)| other.pc != wait.pc);
    if let (Some((warp, other)), None) = (other, wait.threads) {
        let lines = &machine.launch.kernel.lines;
        let line = |pc: u32| lines[pc as usize].0;
        let text = format!(
            "divergent barrier: warp {first} waits at line {} and warp {warp} at line {}",
            line(wait.pc),
            line(other.pc)
        );
        let trouble = Trouble::new(Code::LAUNCH_FAILED, 0, text);
        return Err(located(machine, warp, other.pc, trouble));
    }
    Ok(())
}

/// Adds kernel, block, thread and line to a failure.
fn located(machine: &Machine<'_>, warp: u32, pc: u32, trouble: Trouble) -> Trouble {
    let launch = machine.launch;
    let kernel = launch.kernel;
    let (line, file, source_line) = kernel.lines.get(pc as usize).copied().unwrap_or((0, 0, 0));
    let source = kernel.sources.iter().find(|(number, _)| *number == file);
    let source = match source {
        Some((_, name)) if source_line > 0 => format!(", {name}:{source_line}"),
        _ => String::new(),
    };
    let thread = warp * 32 + trouble.lane;
    let [x, y, _] = launch.block;
    let thread = [thread % x, thread / x % y, thread / x / y];
    let text = format!(
        "kernel {}, block {:?}, thread {thread:?}, {}:{line}{source}: {}",
        kernel.name, machine.block, kernel.file, trouble.text
    );
    Trouble { text, ..trouble }
}
