//! How much memory there is, so that what cannot fit is refused before any of it is asked for: systems that lend more memory than they have end a program that believes them.

use std::sync::OnceLock;

/// Bytes of memory that this process can use: memory and swap of the machine, or the bound of its group where that is smaller. `None` where the system does not say.
///
/// ```
/// use scatterc_runtime::limits::machine_memory;
///
/// assert!(machine_memory().is_none_or(|bytes| bytes > 1 << 20));
/// ```
pub fn machine_memory() -> Option<u64> {
    static BYTES: OnceLock<Option<u64>> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
        let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse::<u64>().ok());
        match (machine, group) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    })
}

/// MemTotal and SwapTotal of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<u64> {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    of("MemTotal")?.checked_add(of("SwapTotal").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_swap_are_added() {
        let text = "MemTotal:       24683656 kB\nMemFree:        1 kB\nSwapTotal:           1024 kB\n";
        assert_eq!(total(text), Some((24_683_656 + 1024) * 1024));
        assert_eq!(total("MemTotal: 1 kB"), Some(1024));
        assert_eq!(total("SwapTotal: 1 kB"), None);
        assert_eq!(total("MemTotal: 99999999999999999999 kB"), None);
    }
}
