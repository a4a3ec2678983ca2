//! The process's signals: SIGTERM and SIGINT stop it, SIGHUP makes it read its keys again.

use std::io;

/// Handles the signals that stop the process from now on. Resolves at the first.
pub(super) fn stop() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

/// Handles SIGHUP from now on and calls `again` each time. Unhandled, it would end the process
/// without a drain, and a terminal that closes sends it too.
pub(super) fn on_hangup(again: impl Fn() + 'static) -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        actix_rt::spawn(async move {
            while hangup.recv().await.is_some() {
                again();
            }
        });
    }
    Ok(())
}
