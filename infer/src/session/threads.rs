//! Number of threads of a session where nobody sets it.
//!
//! ONNX Runtime takes one thread per physical core of the machine. It knows neither the CPU quota of a container nor the
//! affinity of the process, and more threads than CPUs wait for each other in every operator.

use std::collections::BTreeSet;
use std::{fs, thread};

/// Folder in which Linux describes the machine's CPUs.
const CPUS: &str = "/sys/devices/system/cpu";

/// Number of threads of a session by default: one per physical core, at most as many as quota and affinity allow.
#[cfg(any(feature = "bench", feature = "serve", test))]
pub(crate) fn default_threads() -> usize {
    let allowed = allowed();
    online().map_or(allowed, |online| allowed.min(physical_cores(&online)))
}

/// Number of threads to tell ONNX Runtime: none where the process may use the whole machine.
pub(super) fn limited_threads() -> Option<usize> {
    let (allowed, online) = (allowed(), online()?);
    (allowed < online.len()).then(|| allowed.min(physical_cores(&online)))
}

/// Number of CPUs that quota and affinity of this process allow.
fn allowed() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Numbers of the machine's CPUs that are online; none where the system does not say.
fn online() -> Option<Vec<usize>> {
    parse_list(fs::read_to_string(format!("{CPUS}/online")).ok()?.trim())
}

/// Number of physical cores that `cpus` belong to; CPUs of an unknown core count as one core each.
fn physical_cores(cpus: &[usize]) -> usize {
    let siblings = |cpu: &usize| {
        fs::read_to_string(format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"))
            .unwrap_or_else(|_| cpu.to_string())
    };
    cpus.iter().map(siblings).collect::<BTreeSet<_>>().len()
}

/// Parses a list of CPUs as Linux writes it: `0-3,8,10-11`.
fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_list("0"), Some(vec![0]));
        assert_eq!(parse_list("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_list(""), None);
        assert_eq!(parse_list("0-x"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_default_never_exceeds_what_is_allowed() {
        let cpus = online().expect("Linux lists its CPUs");
        assert!((1..=cpus.len()).contains(&physical_cores(&cpus)));
        assert!((1..=allowed()).contains(&default_threads()));
        let limited = limited_threads();
        assert_eq!(limited, (allowed() < cpus.len()).then(default_threads));
    }
}
