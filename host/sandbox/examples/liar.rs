//! A worker process that lies, for tests: what it does is told by how many instances it may have.

use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::time::Duration;

/// Kinds of packets, as the protocol numbers them.
const READY: u8 = 32;
const DONE: u8 = 33;
const REQUEST: u8 = 34;
const LOG: u8 = 35;
const GROW: u8 = 36;

fn main() -> io::Result<()> {
    let lie = std::env::args().nth(2).unwrap_or_default();
    match lie.as_str() {
        "1" => return send(&[7; 5]),
        "2" => return Ok(()),
        _ => send(&packet(READY, 0, 0, b""))?,
    }
    let call = next_call()?;
    let all = u32::MAX.to_le_bytes();
    match lie.as_str() {
        "3" => send(&[255; 3])?,
        "4" => send(&packet(DONE, 1 << 40, 0, b""))?,
        "5" => send(&packet(DONE, call, 0, b""))?,
        "6" => send(&packet(DONE, call, 0, &all))?,
        "7" => send(&in_segment(DONE, call, 1, u64::MAX))?,
        "8" => send(&in_segment(DONE, call, 9, 64))?,
        "9" => send(&packet(99, call, 0, b""))?,
        "10" => send(&packet(REQUEST, call, 0, &[200]))?,
        "11" => send(&packet(GROW, call, 0, b"abc"))?,
        "12" => send(&packet(REQUEST, call, 0, &run_of_no_plan()))?,
        "13" => {
            // More packets than a call has host calls.
            while send(&packet(LOG, call, 0, &[2, 1, 0, 0, 0, b'x'])).is_ok() {}
        }
        "14" => send(&packet(GROW, call, 0, &(1u64 << 50).to_le_bytes()))?,
        // It says nothing.
        "15" => {}
        // A call of a model whose name is no text, and of one with more inputs than bytes.
        "16" => send(&packet(REQUEST, call, 0, &[3, 1, 0, 0, 0, 255]))?,
        "17" => send(&packet(REQUEST, call, 0, &[&[3, 0, 0, 0, 0][..], &all].concat()))?,
        // A traced model with more inputs than bytes, and an item with more outputs.
        "18" => send(&packet(REQUEST, call, 0, &[&[2][..], &all].concat()))?,
        "19" => send(&packet(REQUEST, call, 0, &[&[4][..], &all].concat()))?,
        // One host call after the other, without an end.
        _ => while send(&packet(REQUEST, call, 0, &[4, 0, 0, 0, 0])).is_ok() {},
    }
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

/// A plan call with more inputs than bytes.
fn run_of_no_plan() -> Vec<u8> {
    [&[0][..], &7u32.to_le_bytes(), &u32::MAX.to_le_bytes()].concat()
}

fn header(kind: u8, (place, segment): (u8, u32), call: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![kind, place];
    bytes.extend(segment.to_le_bytes());
    bytes.extend(call.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes
}

fn packet(kind: u8, call: u64, segment: u32, message: &[u8]) -> Vec<u8> {
    [header(kind, (0, segment), call, message.len() as u64), message.to_vec()].concat()
}

fn in_segment(kind: u8, call: u64, segment: u32, len: u64) -> Vec<u8> {
    header(kind, (1, segment), call, len)
}

fn send(bytes: &[u8]) -> io::Result<()> {
    let mut control = SendAncillaryBuffer::default();
    loop {
        match sendmsg(io::stdin(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Number of the first call that the host makes.
fn next_call() -> io::Result<u64> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let mut control = RecvAncillaryBuffer::default();
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(io::stdin(), slices, &mut control, RecvFlags::empty()) {
            Ok(received) if received.bytes >= 14 => break,
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(u64::from_le_bytes(std::array::from_fn(|at| bytes[6 + at])))
}
