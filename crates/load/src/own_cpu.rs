//! The processor time of this thread, which shows whether the load generator itself is the
//! bottleneck.

use std::time::Duration;

/// The time since the thread began; none if the system does not report it. Only Linux does.
pub fn used() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    parse(&text)
}

/// The first number is the processor time in nanoseconds (Linux, `sched-stats`).
fn parse(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_used() {
        assert_eq!(parse("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(parse(""), None);
    }
}
