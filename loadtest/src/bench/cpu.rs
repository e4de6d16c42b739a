//! CPU time of another process, from /proc.

use anyhow::Context;

/// Fields of /proc/PID/stat after the name in parentheses, counted from 0 (proc(5): 14 and 15 of
/// all, the name is the second).
const UTIME: usize = 11;
const STIME: usize = 12;

/// User and system time of all threads of a process, ended ones included, in seconds. The kernel
/// counts in ticks of 1/CLK_TCK s, so a measurement should span many.
pub fn seconds(pid: i32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let ticks = ticks(&text).with_context(|| format!("{path} is not as proc(5) says"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The name may hold spaces and parentheses; what follows its last one is fixed.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(field(UTIME)? + field(STIME)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_hold_anything() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 400 23 0 0 20";
        assert_eq!(ticks(stat), Some(423));
        assert_eq!(ticks("7 (x) S 1"), None);
    }

    #[test]
    fn this_process_has_a_time() {
        assert!(seconds(std::process::id() as i32).expect("our own") >= 0.0);
    }
}
