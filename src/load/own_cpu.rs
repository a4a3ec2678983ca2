//! How much processor time this thread has taken: whether the load generator is itself the
//! bottleneck.

use std::time::Duration;

/// The time since the thread began; none where the system does not tell. Only Linux does.
pub fn used() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    parse(&text)
}

/// The first number is the time on a processor, in nanoseconds (Linux, `sched-stats`).
fn parse(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_counts() {
        assert_eq!(parse("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(parse(""), None);
    }
}
