//! What the process does on a signal: it stops on SIGTERM and SIGINT, and reads its keys again on SIGHUP.

use std::io;

/// Takes the signals that stop the process from now on; resolves at the first.
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

/// Takes SIGHUP from now on, which would end the process without a drain: a terminal that closes
/// sends it, too. Each calls `again`.
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
