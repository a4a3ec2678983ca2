//! Logs go to stderr, as lines for people or as one JSON object per line, through a queue
//! ([`queue`]) that never blocks the threads that serve.

mod filter;
mod format;
mod queue;
mod repeat_limit;

use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use env_logger::{Target, WriteStyle};
use log::Level;

use super::CliError;
use crate::config::{LogConfig, LogFormat};
use crate::metrics::LOG_LOSSES;
use filter::LogFilter;
use format::{json_notice, text_notice, write_json};
use protocol::time::Timestamp;
use queue::{DropNotice, LogQueue};

/// How long the end of the process waits for a stderr that is not read.
const EXIT_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a panic waits for its line, which may be the last one of an aborting process.
const PANIC_FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

const PANIC_TARGET: &str = "orderhub::panic";

/// The queue to stderr, once something was written.
static QUEUE: OnceLock<Arc<LogQueue>> = OnceLock::new();

/// Starts the log. A second start in one process changes nothing.
pub(super) fn start(config: &LogConfig) -> Result<(), CliError> {
    let notice: DropNotice = match config.format {
        LogFormat::Text => text_notice,
        LogFormat::Json => json_notice,
    };
    let queue =
        open(notice).map_err(|error| CliError::Failed(format!("cannot start the log: {error}")))?;
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&config.filter);
    builder.target(Target::Pipe(Box::new(QueueWriter(Arc::clone(queue)))));
    if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        builder.write_style(WriteStyle::Always);
    }
    match config.format {
        LogFormat::Text => {
            builder.format_timestamp_millis();
        }
        LogFormat::Json => {
            builder.format(|out, record| write_json(out, record, Timestamp::now()));
        }
    }
    let logger = builder.build();
    log::set_max_level(logger.filter());
    // Fails only if a logger is set already.
    if log::set_boxed_logger(Box::new(LogFilter::new(logger))).is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// Writes something to stderr that is not a log line. A closed or unread stderr must not cause a
/// panic or a hang.
pub(super) fn print_stderr(text: &str) {
    // Without a thread, this text has nowhere else to go.
    if let Ok(queue) = open(text_notice) {
        queue.push(text.as_bytes());
    }
}

/// The queue, which is created on first use.
fn open(notice: DropNotice) -> io::Result<&'static Arc<LogQueue>> {
    if let Some(queue) = QUEUE.get() {
        return Ok(queue);
    }
    let queue = LogQueue::start(io::stderr(), notice, &LOG_LOSSES)?;
    Ok(QUEUE.get_or_init(|| queue))
}

/// Dropped when the process ends, in whatever way: flushes the queue.
pub(super) struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        if let Some(queue) = QUEUE.get() {
            queue.flush(EXIT_FLUSH_TIMEOUT);
        }
    }
}

/// Passes each formatted record to the queue.
struct QueueWriter(Arc<LogQueue>);

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === panics ===

/// Like the hook of the standard library, which would write to stderr directly.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = std::backtrace::Backtrace::capture();
    let trace = match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let text = format!("thread '{name}' {panic}{trace}");
    if log::log_enabled!(target: PANIC_TARGET, Level::Error) {
        log::error!(target: PANIC_TARGET, "{text}");
    } else {
        // A filter may hide the record, but a bug is always reported.
        print_stderr(&format!("{text}\n"));
    }
    if let Some(queue) = QUEUE.get() {
        queue.flush(PANIC_FLUSH_TIMEOUT);
    }
}
