//! Metrics of the process, from `/proc`, under the names that Prometheus' own clients give them.

use super::Page;
use super::catalog::{
    PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_RESIDENT, PROCESS_START, PROCESS_THREADS,
};
use std::fs;

/// Ticks of `/proc/*/stat` a second: `USER_HZ`, which is part of Linux's interface.
const TICKS: f64 = 100.0;

/// Adds what the system says of this process; leaves out what it does not say.
pub fn write_process(page: &mut Page) {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
    let stat = read("stat").and_then(|text| fields(&text));
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| value(&text, "btime "));
    let status = read("status");
    let of_status = |name| status.as_deref().and_then(|text| value(text, name));
    let fds = fs::read_dir("/proc/self/fd").map(|fds| fds.count() as f64).ok();
    let fds_max = read("limits").and_then(|text| value(&text, "Max open files"));
    let rows = [
        (&PROCESS_CPU, stat.map(|(ticks, _)| ticks / TICKS)),
        (&PROCESS_START, stat.zip(boot).map(|((_, start), boot)| boot + start / TICKS)),
        (&PROCESS_RESIDENT, of_status("VmRSS:").map(|kib| kib * 1024.0)),
        (&PROCESS_THREADS, of_status("Threads:")),
        (&PROCESS_FDS, fds),
        (&PROCESS_FDS_MAX, fds_max),
    ];
    for (metric, value) in rows {
        if let Some(value) = value {
            page.single(metric, value);
        }
    }
}

/// Ticks of CPU and the start of `/proc/self/stat`: fields 14, 15 and 22, counted behind the name, which may
/// hold anything.
fn fields(text: &str) -> Option<(f64, f64)> {
    let behind = text.rsplit_once(") ")?.1;
    let fields: Vec<&str> = behind.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

/// The first number of the line that starts with `name`.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_described() {
        let mut page = Page::default();
        write_process(&mut page);
        let text = page.into_text();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {text}")).trim().parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e5);
        assert!(value("process_start_time_seconds ") > 1.6e9);
        assert!(value("process_open_fds ") >= 3.0 && value("process_max_fds ") >= 3.0);
        assert!(value("process_threads ") >= 1.0 && value("process_cpu_seconds_total ") >= 0.0);
        let name = "1 (a) b) S 1 1 1 0 -1 4 1 0 0 0 250 50 0 0 20 0 7 0 12345 1";
        assert_eq!(fields(name), Some((300.0, 12345.0)));
    }
}
