//! The `orderhub` program. All code is in the library; [`orderhub::cli`] has the commands.

#![forbid(unsafe_code)]

use std::process::ExitCode;

// Frames are allocated on one thread and freed on another all the time: mimalloc keeps both the
// cost and the retained memory low. This is its version 2, because version 3 wastes much memory on
// allocations that are aligned to 128 bytes, as every task is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    orderhub::cli::run(std::env::args_os())
}
