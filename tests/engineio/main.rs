//! Engine.IO from the outside: polls, POSTs and sockets against a server of this process, whose
//! sessions say what they hear.

mod origins;
mod polling;
mod refusals;
mod support;
mod upgrading;
