//! The `orderhub` program. All of it is in the library; see [`orderhub::cli`] for the commands.

use std::process::ExitCode;

// Frames are allocated on one thread and freed on another, all day long: mimalloc keeps both the
// cost and the memory that stays behind low.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    orderhub::cli::run(std::env::args_os())
}
