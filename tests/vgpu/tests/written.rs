//! What the compiler seldom emits, as PTX written by hand.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use aimass_vgpu::{Checks, Settings};
use cudarc::driver::PushKernelArg;
use device::{Device, shape};

/// Runs the statements of `body` in 32 threads, where `%rd0` is the address of the thread's input
/// word, `%r0` that word and `%r1` the result; `before` comes before the entry.
fn run(before: &str, body: &str, x: &[u32]) -> Vec<u32> {
    let ptx = format!(
        ".version 8.8\n.target sm_80\n.address_size 64\n{before}\n\
         .visible .entry k(.param .u64 x, .param .u64 y)\n{{\n\
         .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %rd<8>; .reg .f32 %f<4>;\n\
         ld.param.u64 %rd1, [x]; ld.param.u64 %rd2, [y];\n\
         mov.u32 %r2, %tid.x; mul.wide.u32 %rd3, %r2, 4;\n\
         add.s64 %rd0, %rd1, %rd3; add.s64 %rd2, %rd2, %rd3;\n\
         ld.global.u32 %r0, [%rd0];\n{body}\nst.global.u32 [%rd2], %r1;\nret;\n}}\n"
    );
    let device = Device::new(&Settings { checks: Checks::Races, ..Settings::default() }, &ptx);
    let dx = device.stream.clone_htod(x).unwrap();
    let mut dy = device.stream.alloc_zeros::<u32>(32).unwrap();
    let function = device.function("k");
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&dx).arg(&mut dy);
    // SAFETY: the arguments are those of the entry.
    unsafe { launch.launch(shape(1, 32)) }.unwrap();
    let y = device.stream.clone_dtoh(&dy);
    y.unwrap_or_else(|error| panic!("{error:?} {:?}", device.vgpu.findings()))
}

fn check(before: &str, body: &str, expected: impl Fn(u32) -> u32) {
    let x: Vec<u32> = (0..32u32).map(|i| i.wrapping_mul(0x2345_6789) ^ i << 3).collect();
    for (x, y) in x.iter().zip(run(before, body, &x)) {
        assert_eq!(y, expected(*x), "{x:#x} in {body}");
    }
}

#[test]
fn a_branch_by_index_reaches_each_target() {
    let body = "and.b32 %r3, %r0, 3; T: .branchtargets A, B, C, D; brx.idx %r3, T;\n\
                A: mov.u32 %r1, 7; bra E; B: add.u32 %r1, %r0, 1; bra E;\n\
                C: not.b32 %r1, %r0; bra.uni E; D: mov.b32 %r1, %r2; E:";
    let x: Vec<u32> = (0..32).map(|i| i * 5).collect();
    for (i, y) in run("", body, &x).into_iter().enumerate() {
        let expected = [7, x[i] + 1, !x[i], i as u32][x[i] as usize & 3];
        assert_eq!(y, expected, "thread {i}");
    }
}

#[test]
fn a_function_is_called_with_divergent_lanes() {
    let function = ".func (.param .b32 r) f (.param .b32 a, .param .b32 b) {\n\
                    .reg .b32 %r<4>; .reg .pred %p; ld.param.u32 %r0, [a]; ld.param.u32 %r1, [b];\n\
                    setp.lt.u32 %p, %r0, %r1; @%p bra L; mul.lo.u32 %r0, %r0, 3;\n\
                    st.param.b32 [r], %r0; ret; L: sub.u32 %r0, %r1, %r0;\n\
                    st.param.b32 [r+0], %r0; ret; }";
    let body = "mov.u32 %r1, 5; setp.gt.s32 %p0, %r0, 0; .param .b32 a0; .param .b32 a1;\n\
                .param .b32 r0; st.param.b32 [a0+0], %r0; st.param.b32 [a1], 1000000000;\n\
                @%p0 call.uni (r0), f, (a0, a1); @%p0 ld.param.b32 %r1, [r0];";
    let f = |x: u32| if x < 1_000_000_000 { 1_000_000_000 - x } else { x.wrapping_mul(3) };
    check(function, body, |x| if x as i32 > 0 { f(x) } else { 5 });
}

#[test]
fn carries_pass_from_word_to_word() {
    let body = "add.cc.u32 %r4, %r0, 0xf0000000; addc.u32 %r1, %r2, 10; sub.u32 %r1, %r1, %r2;";
    check("", body, |x| 10 + u32::from(x >= 0x1000_0000));
    let body = "sub.cc.u32 %r4, %r0, 0x40000000; subc.u32 %r1, 10, 0;";
    check("", body, |x| 10 - u32::from(x < 0x4000_0000));
    let body = "mad.lo.cc.u32 %r4, %r0, %r0, 0x80000000; madc.hi.u32 %r1, %r0, %r0, 1;";
    check("", body, |x| {
        let square = u64::from(x) * u64::from(x);
        let carry = u32::from((square as u32).checked_add(0x8000_0000).is_none());
        ((square >> 32) as u32).wrapping_add(1 + carry)
    });
}

#[test]
fn conversions_cut_clamp_and_pack() {
    check("", "cvt.u8.u32 %r1, %r0;", |x| x & 0xff);
    check("", "cvt.sat.s8.s32 %r1, %r0;", |x| (x as i32).clamp(-128, 127) as u32);
    check("", "cvt.s64.s8 %rd4, %r0; cvt.u32.u64 %r1, %rd4;", |x| x as u8 as i8 as u32);
    check("", "cvt.u64.u32 %rd4, %r0; cvt.u16.u64 %r1, %rd4;", |x| x & 0xffff);
    let clamp = |x: u32| (x as i32).clamp(-128, 127) as u32 & 0xff;
    check("", "cvt.pack.sat.s8.s32.b32 %r1, %r0, %r0, 0x77;", |x| {
        0x0077_0000 | clamp(x) << 8 | clamp(x)
    });
    check("", "mov.b32 %f0, %r0; cvt.rz.bf16x2.f32 %r1, %f0, %f0;", |x| {
        let cut = x >> 16;
        if f32::from_bits(x).is_nan() { 0x7fff_7fff } else { cut << 16 | cut }
    });
}

#[test]
fn comparisons_combine_with_predicates() {
    let body = "setp.gt.s32 %p0, %r0, 0; setp.lt.and.u32 %p1|%p2, %r0, 0x30000000, !%p0;\n\
                selp.u32 %r1, 1, 0, %p1; @%p2 add.u32 %r1, %r1, 2;";
    check("", body, |x| {
        let (small, other) = (x < 0x3000_0000, x as i32 <= 0);
        u32::from(small && other) + 2 * u32::from(!small && other)
    });
    check("", "set.le.u32.s32 %r1, %r0, 5;", |x| if x as i32 <= 5 { u32::MAX } else { 0 });
    check("", "slct.u32.s32 %r1, 3, 4, %r0;", |x| if x as i32 >= 0 { 3 } else { 4 });
}

#[test]
fn small_formats_go_there_and_back() {
    // 240 has three bits of mantissa, so that both formats keep it.
    let body = "mov.f32 %f0, 0f43700000; mov.f32 %f1, 0fC3700000;\n\
                cvt.rn.satfinite.e4m3x2.f32 %r3, %f0, %f1; cvt.rn.f16x2.e4m3x2 %r1, %r3;";
    check("", body, |_| 0x5b80_db80);
}
