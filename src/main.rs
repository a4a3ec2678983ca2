//! The `orderhub` program. All of it is in the library; see [`orderhub::cli`] for the commands.

use std::process::ExitCode;

// Frames are allocated on one thread and freed on another, all day long: mimalloc keeps both the
// cost and the memory that stays behind low. Its second line, because the third allocates what is
// aligned to 128 bytes, as every task is, with so much to spare.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    orderhub::cli::run(std::env::args_os())
}
